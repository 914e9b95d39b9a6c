"""Finds the proxy for a URL, in the same way as botocore."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import pycurl
from botocore.utils import get_environ_proxies

from pos3.errors import ProfileError


def proxy_of(url: str) -> str:
    """The URL of the proxy from ``HTTPS_PROXY``, ``HTTP_PROXY`` and ``NO_PROXY``; "" for none."""
    return get_environ_proxies(url).get(urlsplit(url).scheme) or ""


def proxy_options(session: Any, url: str) -> list[tuple[int, str]]:
    """libcurl's options for the proxy of a URL, with the settings of the AWS configuration file.

    Raises:
        ProfileError: a setting needs something that libcurl cannot do.
    """
    proxy = proxy_of(url)
    # libcurl would read NO_PROXY again, with other rules.
    options = [(pycurl.PROXY, proxy), (pycurl.NOPROXY, "")]
    settings = (session.get_config_variable("proxies_config") or {}) if proxy else {}
    if settings.get("proxy_use_forwarding_for_https") and url.startswith("https:"):
        raise ProfileError("proxy_use_forwarding_for_https is not supported: requests over TLS go through a tunnel")
    for name, option in (("proxy_ca_bundle", pycurl.PROXY_CAINFO), ("proxy_client_cert", pycurl.PROXY_SSLCERT)):
        if settings.get(name):
            options.append((option, settings[name]))
    return options
