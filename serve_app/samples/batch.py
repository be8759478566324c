"""Get many pictures back with every face hidden, as a zip: python batch.py OUTPUT PICTURE..."""

import os
import sys
from pathlib import Path

import requests

url = os.environ.get("FACE_API_URL", "http://127.0.0.1:8000")
headers = {"X-API-Key": os.environ.get("FACE_API_KEY", "")}
pictures = [Path(argument) for argument in sys.argv[2:]]

# Each picture is a part `image`; the zip's manifest.json says what became of each.
response = requests.post(
    f"{url}/api/v1/batch",
    params={"task": "mask", "answer": "zip"},
    headers=headers,
    files=[("image", (path.name, path.read_bytes())) for path in pictures],
    timeout=600,
)
if not response.ok:
    sys.exit(f"{response.status_code}: {response.json()['detail']}")
Path(sys.argv[1]).write_bytes(response.content)
