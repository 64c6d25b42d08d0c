"""Who reads slowly holds up nobody but itself; who leaves frees what it held."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from urllib.parse import urlsplit

import httpx

from serve.api import create_api
from serve.service import Service
from tests.serve.helpers import HELLO, assert_becomes_idle, serve_on_free_port, slow_down

CHAT = "/v1/chat/completions"


def test_a_client_that_does_not_read_gives_its_slot_back_and_gets_all_when_it_reads(
    make_service: Callable[..., Service],
) -> None:
    service = make_service(
        "text.max_reply_tokens=700", "training.batch_tokens=2048", "evaluation.batch_tokens=2048",
        "serving.num_slots=1", "serving.max_queued_requests=1",
    )  # fmt: skip
    body = json.dumps(HELLO | {"stream": True, "min_reply_tokens": 700, "max_tokens": 700}).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\ncontent-length: {len(body)}\r\n"
    for url in serve_on_free_port(create_api(service)):
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)  # little of the answer fits into it
            slow.settimeout(60)
            slow.connect(("127.0.0.1", urlsplit(url).port))
            slow.sendall(f"{head}content-type: application/json\r\n\r\n".encode() + body)
            assert slow.recv(4).startswith(b"HTTP")
            assert_becomes_idle(service, within_s=60)
            assert httpx.post(url + CHAT, json=HELLO, timeout=60).status_code == 200
            read = b""
            while piece := slow.recv(65536):
                read += piece
        assert b"data: [DONE]" in read


def test_who_leaves_a_stream_of_several_replies_frees_the_slots_of_all(service: Service, served: str) -> None:
    slow_down(service, seconds_per_step=0.2)
    body = HELLO | {"n": 3, "temperature": 1.5, "stream": True, "min_reply_tokens": 20, "max_tokens": 20}
    with httpx.stream("POST", served + CHAT, json=body, timeout=60) as answer:
        next(answer.iter_text())
        assert service.replica.responder.engine.statistics().num_running == 3
    assert_becomes_idle(service, within_s=2)  # their 20 steps would take 4 s
    assert service.replica.responder.engine.statistics().finishes == {"cancelled": 3}
