"""Ask whether the model and every tier are ready: python health.py."""

import os
import sys

import requests

url = os.environ.get("FACE_API_URL", "http://127.0.0.1:8000")
response = requests.get(f"{url}/health", timeout=10)
sys.stdout.write(response.text)
if not response.ok:
    sys.exit(1)
