-- POSTs of one URL, each body in turn, and the figures as JSON on the last line. Arguments: `close` or `keep` for the
-- connections, then for each body its file and its Content-Type. FACE_API_KEY in the environment becomes the
-- X-API-Key header.

local requests, last = {}, 0
sheds = 0  -- a global, so that `done` can ask every thread
local threads = {}

function setup(thread)
    table.insert(threads, thread)
end

function init(arguments)
    wrk.method = "POST"
    local key = os.getenv("FACE_API_KEY")
    if key and key ~= "" then
        wrk.headers["X-API-Key"] = key
    end
    if arguments[1] == "close" then
        wrk.headers["Connection"] = "close"
    end
    for index = 2, #arguments, 2 do
        local file = assert(io.open(arguments[index], "rb"))
        wrk.body = file:read("*a")
        file:close()
        wrk.headers["Content-Type"] = arguments[index + 1]
        table.insert(requests, wrk.format())
    end
end

function request()
    last = last % #requests + 1
    return requests[last]
end

function response(status)
    if status == 429 or status == 503 then
        sheds = sheds + 1
    end
end

function done(summary, latency, _)
    local total = 0
    for _, thread in ipairs(threads) do
        total = total + thread:get("sheds")
    end
    local function at(percent)
        return summary.requests > 0 and latency:percentile(percent) or 0
    end
    local errors = summary.errors
    local lost = errors.connect + errors.read + errors.write + errors.timeout
    io.write(string.format(
        '\n{"requests":%d,"refused":%d,"sheds":%d,"lost":%d,"duration_us":%d,'
        .. '"percentiles_us":{"50":%d,"90":%d,"99":%d,"99.9":%d}}\n',
        summary.requests, errors.status, total, lost, summary.duration, at(50), at(90), at(99), at(99.9)))
end
