#!/bin/sh
# Find the faces of a picture: sh detect.sh PICTURE
set -eu

# multipart/form-data with the file part `image`; mask.sh sends the bytes alone, which is faster.
curl --silent --show-error --fail-with-body \
    --header "X-API-Key: ${FACE_API_KEY:-}" \
    --form "image=@$1" \
    "${FACE_API_URL:-http://127.0.0.1:8000}/api/v1/detect?confidence=0.5"
