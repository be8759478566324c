#!/bin/sh
# Ask whether the model and every tier are ready: sh health.sh
set -eu

curl --silent --show-error --fail-with-body "${FACE_API_URL:-http://127.0.0.1:8000}/health"
