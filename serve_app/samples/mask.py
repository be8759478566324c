"""Get a picture back with every face hidden: python mask.py PICTURE OUTPUT."""

import os
import sys
from pathlib import Path

import requests

url = os.environ.get("FACE_API_URL", "http://127.0.0.1:8000")
headers = {"X-API-Key": os.environ.get("FACE_API_KEY", ""), "Content-Type": "image/jpeg"}

# The bytes alone, under any image/* type; detect.py sends them as multipart/form-data.
response = requests.post(
    f"{url}/api/v1/mask",
    params={"method": "gaussian", "format": "jpeg"},
    headers=headers,
    data=Path(sys.argv[1]).read_bytes(),
    timeout=60,
)
if not response.ok:
    sys.exit(f"{response.status_code}: {response.json()['detail']}")
Path(sys.argv[2]).write_bytes(response.content)
