#!/bin/sh
# Get a picture back with every face hidden: sh mask.sh PICTURE OUTPUT
set -eu
answer=$(mktemp)
trap 'rm -f "$answer"' EXIT

# The bytes alone, under any image/* type; detect.sh sends them as multipart/form-data.
curl --silent --show-error --fail-with-body --output "$answer" \
    --header "X-API-Key: ${FACE_API_KEY:-}" \
    --header "Content-Type: image/jpeg" \
    --data-binary "@$1" \
    "${FACE_API_URL:-http://127.0.0.1:8000}/api/v1/mask?method=gaussian&format=jpeg" \
    || { cat "$answer" >&2; exit 1; }
cp "$answer" "$2"
