"""An adapter that serves a metric of the ventilator as Kubernetes' external metrics API, as prometheus-adapter would.

python external_metrics.py PORT CERTIFICATE KEY KUBECTL ...

It has no memory: each question reads the page `/metrics` of the ventilator's pod, by the command KUBECTL …. A metric
that the page lacks is no item of the answer, as with an adapter whose query finds nothing.
"""

import json
import re
import ssl
import subprocess
import sys
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

GROUP = "external.metrics.k8s.io/v1beta1"
PAGE = "/api/v1/namespaces/{namespace}/pods/ventilator-0:8080/proxy/metrics"
METRIC = "penstock_workers_wanted"


class Adapter(BaseHTTPRequestHandler):
    """Answers the API server, which has asked whether the asker may know."""

    def do_GET(self) -> None:
        """Say what there is, or a metric."""
        path = self.path.partition("?")[0].rstrip("/")
        asked = re.fullmatch(f"/apis/{GROUP}/namespaces/([^/]+)/{METRIC}", path)
        if asked:
            self._answer(
                200, {"kind": "ExternalMetricValueList", "apiVersion": GROUP, "metadata": {}, "items": values(asked[1])}
            )
        elif f"/apis/{GROUP}" == path:
            resource = {
                "name": METRIC,
                "namespaced": True,
                "kind": "ExternalMetricValueList",
                "verbs": ["get"],
                "singularName": "",
            }
            self._answer(
                200, {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": GROUP, "resources": [resource]}
            )
        else:
            self._answer(404, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404})

    def _answer(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def values(namespace: str) -> list[dict[str, Any]]:
    """Return the metric as the ventilator says it now, or nothing while it says none."""
    command = [*sys.argv[4:], "get", "--raw", PAGE.format(namespace=namespace)]
    page = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False).stdout
    found = re.search(rf"^{METRIC}(?:\{{[^}}]*\}})? ([0-9.]+)$", page, re.MULTILINE)
    if not found:
        return []
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return [{"metricName": METRIC, "metricLabels": {}, "timestamp": now, "value": str(int(float(found[1])))}]


def main() -> None:
    """Answer until the end."""
    server = ThreadingHTTPServer(("", int(sys.argv[1])), Adapter)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[2], sys.argv[3])
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
