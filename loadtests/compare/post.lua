-- One POST over and over, and the figures as JSON on the last line. Arguments: file of the body, its
-- Content-Type. FACE_API_KEY in the environment becomes the X-API-Key header.

function init(arguments)
    local file = assert(io.open(arguments[1], "rb"))
    wrk.method = "POST"
    wrk.body = file:read("*a")
    file:close()
    wrk.headers["Content-Type"] = arguments[2]
    local key = os.getenv("FACE_API_KEY")
    if key and key ~= "" then
        wrk.headers["X-API-Key"] = key
    end
end

function done(summary, latency, _)
    local p50, p99 = 0, 0
    if summary.requests > 0 then
        p50, p99 = latency:percentile(50), latency:percentile(99)
    end
    local errors = summary.errors
    local lost = errors.connect + errors.read + errors.write + errors.timeout
    io.write(string.format(
        '\n{"requests":%d,"refused":%d,"lost":%d,"duration_us":%d,"p50_us":%d,"p99_us":%d}\n',
        summary.requests, errors.status, lost, summary.duration, p50, p99))
end
