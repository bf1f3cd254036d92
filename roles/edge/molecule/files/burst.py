"""Ask for the same page again and again at once, and print each answer: burst.py URL AUTHORIZATION TIMES."""

import json
import ssl
import sys
import urllib.error
import urllib.request

url, authorization, times = sys.argv[1], sys.argv[2], int(sys.argv[3])
trust = ssl.create_default_context()
trust.check_hostname = False
trust.verify_mode = ssl.CERT_NONE  # only the limit counts here
request = urllib.request.Request(url, headers={"Authorization": authorization})  # noqa: S310
for _ in range(times):
    try:
        with urllib.request.urlopen(request, timeout=10, context=trust) as response:  # noqa: S310
            print(response.status)
    except urllib.error.HTTPError as error:
        code = json.load(error)["error"]["code"]
        print(f"{error.code} {code}, Retry-After {error.headers['Retry-After']}")
