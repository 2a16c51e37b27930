"""An S3 server for the tests: moto, one request at a time, so that a conditional put is atomic.

Prints its port. `python s3_server.py BUCKET`
"""

import os
import sys
import urllib.request

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

server = make_server("127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=False)
if os.fork() == 0:
    bucket = urllib.request.Request(f"http://127.0.0.1:{server.port}/{sys.argv[1]}", method="PUT")
    urllib.request.urlopen(bucket).read()
    print(server.port, flush=True)
    os._exit(0)
server.serve_forever()
