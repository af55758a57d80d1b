"""Delivers one message and ends: `python -m umami_ops.daemon.courier`, with the message as JSON on stdin.

A process of its own, so that a notifier that hangs can be ended, and what its libraries take goes with it.
It ends with 0 when the message was delivered; else with 1, having said why on stdout, and never with what it
was given.
"""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from typing import Any

_TIMEOUT_SECONDS = 20.0


def main() -> int:
    """Deliver what stands on stdin."""
    content = json.load(sys.stdin)
    deliver = {"apprise": _apprise, "ping": _post, "webhook": _post}[content["channel"]]
    try:
        fault = deliver(content)
    except urllib.error.HTTPError as error:
        fault = f"the other side answered {error.code} {error.reason}"
    except urllib.error.URLError as error:
        fault = f"the other side can't be reached: {getattr(error.reason, 'strerror', None) or error.reason}"
    except (OSError, ValueError) as error:
        fault = f"{type(error).__name__}: {getattr(error, 'strerror', None) or 'it could not be sent'}"
    if fault:
        sys.stdout.write(fault)
    return 1 if fault else 0


def _post(content: dict[str, Any]) -> str:
    """Send text or JSON to a web address."""
    body = content["body"].encode()
    kind = content.get("content_type", "text/plain; charset=utf-8")
    headers = {"Content-Type": kind, "User-Agent": "umami-ops"}
    request = urllib.request.Request(content["url"], data=body, headers=headers, method="POST")  # noqa: S310
    with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS):  # noqa: S310 -- the address is the user's own
        return ""


def _apprise(content: dict[str, Any]) -> str:
    """Hand a notification to apprise."""
    import apprise

    sender = apprise.Apprise(asset=apprise.AppriseAsset(app_id="umami-ops", app_desc="umami-ops"))
    if not sender.add(content["url"]):
        kind = content["url"].partition("://")[0]
        return f"apprise does not understand the address that begins with {kind}://"
    kinds = {
        "failure": apprise.NotifyType.FAILURE,
        "recovery": apprise.NotifyType.SUCCESS,
        "success": apprise.NotifyType.SUCCESS,
    }
    told = sender.notify(title=content["title"], body=content["body"], notify_type=kinds[content["kind"]])
    return "" if told else "apprise could not deliver it"


if __name__ == "__main__":
    sys.exit(main())
