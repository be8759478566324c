#!/bin/sh
# Get many pictures back with every face hidden, as a zip: sh batch.sh OUTPUT PICTURE...
set -eu
answer=$(mktemp)
trap 'rm -f "$answer"' EXIT
output=$1
shift

# Each picture is a part `image`; the zip's manifest.json says what became of each.
for picture in "$@"; do
    set -- "$@" --form "image=@$picture"
    shift
done
curl --silent --show-error --fail-with-body --output "$answer" \
    --header "X-API-Key: ${FACE_API_KEY:-}" \
    "$@" \
    "${FACE_API_URL:-http://127.0.0.1:8000}/api/v1/batch?task=mask&answer=zip" \
    || { cat "$answer" >&2; exit 1; }
cp "$answer" "$output"
