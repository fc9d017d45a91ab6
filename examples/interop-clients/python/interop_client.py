"""The official interoperability cases as a client on grpcio, gRPC's C core.

The flags are those of the official clients. Generated stubs are found in the directory that PYTHONPATH names.
"""

import argparse
import os
import queue

import grpc

# The stubs are in a package `grpc.testing`: part of a package that grpcio has for itself.
grpc.__path__.append(os.path.join(os.environ["PYTHONPATH"], "grpc"))

from grpc.testing import empty_pb2, messages_pb2, test_pb2_grpc  # noqa: E402

REQUEST_SIZES = (27182, 8, 1828, 45904)
RESPONSE_SIZES = (31415, 9, 2653, 58979)
TIMEOUT = 20


def check(condition, what):
    if not condition:
        raise AssertionError(what)


def check_equal(actual, expected, what):
    check(actual == expected, f"{what}: {actual!r} is not {expected!r}")


def payload(size):
    return messages_pb2.Payload(body=bytes(size))


def large_request():
    return messages_pb2.SimpleRequest(response_size=314159, payload=payload(271828))


def stream_request(response_size, request_size):
    return messages_pb2.StreamingOutputCallRequest(
        response_parameters=[messages_pb2.ResponseParameters(size=response_size)],
        payload=payload(request_size),
    )


def check_payloads(responses, sizes):
    bodies = [response.payload.body for response in responses]
    check_equal([len(body) for body in bodies], list(sizes), "sizes of the payloads")
    check(not any(any(body) for body in bodies), "a payload that is not zeros")


def check_status(call, code, details=None):
    """Of an RPC that has ended, or ends now."""
    check_equal(call.code(), code, "status")
    if details is not None:
        check_equal(call.details(), details, "status message")


class Requests:
    """A request stream that grows while it is read."""

    def __init__(self, *requests):
        self.queue = queue.Queue()
        for request in requests:
            self.queue.put(request)

    def put(self, request):
        self.queue.put(request)

    def close(self):
        self.queue.put(None)

    def __iter__(self):
        return iter(self.queue.get, None)


def failure(rpc):
    try:
        rpc()
    except grpc.RpcError as error:
        return error
    raise AssertionError("the RPC did not fail")


def empty_unary(stub):
    response = stub.EmptyCall(empty_pb2.Empty(), timeout=TIMEOUT)
    check_equal(response, empty_pb2.Empty(), "response")


def large_unary(stub):
    check_payloads([stub.UnaryCall(large_request(), timeout=TIMEOUT)], [314159])


def client_streaming(stub):
    requests = (messages_pb2.StreamingInputCallRequest(payload=payload(size)) for size in REQUEST_SIZES)
    response = stub.StreamingInputCall(requests, timeout=TIMEOUT)
    check_equal(response.aggregated_payload_size, 74922, "size of all payloads")


def server_streaming(stub):
    request = messages_pb2.StreamingOutputCallRequest(
        response_parameters=[messages_pb2.ResponseParameters(size=size) for size in RESPONSE_SIZES]
    )
    check_payloads(list(stub.StreamingOutputCall(request, timeout=TIMEOUT)), RESPONSE_SIZES)


def ping_pong(stub):
    requests = Requests()
    responses = stub.FullDuplexCall(iter(requests), timeout=TIMEOUT)
    for request_size, response_size in zip(REQUEST_SIZES, RESPONSE_SIZES):
        requests.put(stream_request(response_size, request_size))
        check_payloads([next(responses)], [response_size])
    requests.close()
    check_equal(list(responses), [], "responses after the last")


def empty_stream(stub):
    check_equal(list(stub.FullDuplexCall(iter(()), timeout=TIMEOUT)), [], "responses")


def cancel_after_begin(stub):
    requests = Requests()
    call = stub.StreamingInputCall.future(iter(requests), timeout=TIMEOUT)
    call.cancel()
    requests.close()
    check(call.cancelled(), "the call is not cancelled")
    check_status(call, grpc.StatusCode.CANCELLED)


def cancel_after_first_response(stub):
    requests = Requests(stream_request(31415, 27182))
    call = stub.FullDuplexCall(iter(requests), timeout=TIMEOUT)
    check_payloads([next(call)], [31415])
    call.cancel()
    requests.close()
    failure(lambda: next(call))
    check_status(call, grpc.StatusCode.CANCELLED)


def timeout_on_sleeping_server(stub):
    requests = Requests(messages_pb2.StreamingOutputCallRequest(payload=payload(27182)))
    call = stub.FullDuplexCall(iter(requests), timeout=0.001)
    failure(lambda: next(call))
    requests.close()
    check_status(call, grpc.StatusCode.DEADLINE_EXCEEDED)


def custom_metadata(stub):
    initial = ("x-grpc-test-echo-initial", "test_initial_metadata_value")
    trailing = ("x-grpc-test-echo-trailing-bin", b"\xab\xab\xab")

    def check_echoed(call):
        check(initial in [tuple(entry) for entry in call.initial_metadata()], "the header did not come back")
        check(trailing in [tuple(entry) for entry in call.trailing_metadata()], "the trailer did not come back")

    response, call = stub.UnaryCall.with_call(large_request(), metadata=(initial, trailing), timeout=TIMEOUT)
    check_payloads([response], [314159])
    check_echoed(call)
    call = stub.FullDuplexCall(iter([stream_request(314159, 271828)]), metadata=(initial, trailing), timeout=TIMEOUT)
    check_payloads(list(call), [314159])
    check_echoed(call)


def status_code_and_message(stub):
    status = messages_pb2.EchoStatus(code=2, message="test status message")
    request = messages_pb2.SimpleRequest(response_status=status)
    error = failure(lambda: stub.UnaryCall(request, timeout=TIMEOUT))
    check_status(error, grpc.StatusCode.UNKNOWN, status.message)
    request = messages_pb2.StreamingOutputCallRequest(response_status=status)
    call = stub.FullDuplexCall(iter([request]), timeout=TIMEOUT)
    failure(lambda: next(call))
    check_status(call, grpc.StatusCode.UNKNOWN, status.message)


def special_status_message(stub):
    message = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n"
    request = messages_pb2.SimpleRequest(response_status=messages_pb2.EchoStatus(code=2, message=message))
    error = failure(lambda: stub.UnaryCall(request, timeout=TIMEOUT))
    check_status(error, grpc.StatusCode.UNKNOWN, message)


def unimplemented_method(stub):
    error = failure(lambda: stub.UnimplementedCall(empty_pb2.Empty(), timeout=TIMEOUT))
    check_status(error, grpc.StatusCode.UNIMPLEMENTED)


def unimplemented_service(stub):
    error = failure(lambda: stub.UnimplementedCall(empty_pb2.Empty(), timeout=TIMEOUT))
    check_status(error, grpc.StatusCode.UNIMPLEMENTED)


CASES = {
    case.__name__: case
    for case in (
        empty_unary,
        large_unary,
        client_streaming,
        server_streaming,
        ping_pong,
        empty_stream,
        cancel_after_begin,
        cancel_after_first_response,
        timeout_on_sleeping_server,
        custom_metadata,
        status_code_and_message,
        special_status_message,
        unimplemented_method,
        unimplemented_service,
    )
}


def read(path):
    with open(path, "rb") as file:
        return file.read()


def channel(args):
    target = f"{args.server_host}:{args.server_port}"
    if args.ca_file is None:
        return grpc.insecure_channel(target)
    key = None if args.key_file is None else read(args.key_file)
    cert = None if args.cert_file is None else read(args.cert_file)
    return grpc.secure_channel(target, grpc.ssl_channel_credentials(read(args.ca_file), key, cert))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--server_host", default="localhost")
    parser.add_argument("--server_port", type=int, required=True)
    parser.add_argument("--test_case", choices=CASES, required=True)
    parser.add_argument("--ca_file")
    parser.add_argument("--key_file")
    parser.add_argument("--cert_file")
    args = parser.parse_args()
    with channel(args) as open_channel:
        services = test_pb2_grpc.TestServiceStub, test_pb2_grpc.UnimplementedServiceStub
        service = services[args.test_case == "unimplemented_service"]
        CASES[args.test_case](service(open_channel))


main()
