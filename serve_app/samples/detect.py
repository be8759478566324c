"""Find the faces of a picture: python detect.py PICTURE."""

import json
import os
import sys
from pathlib import Path

import requests

url = os.environ.get("FACE_API_URL", "http://127.0.0.1:8000")
headers = {"X-API-Key": os.environ.get("FACE_API_KEY", "")}

# multipart/form-data with the file part `image`; mask.py sends the bytes alone, which is faster.
with Path(sys.argv[1]).open("rb") as picture:
    response = requests.post(
        f"{url}/api/v1/detect",
        params={"confidence": 0.5},
        headers=headers,
        files={"image": picture},
        timeout=60,
    )
if not response.ok:
    sys.exit(f"{response.status_code}: {response.json()['detail']}")
json.dump(response.json(), sys.stdout, indent=2)
