"""The process in which TUF runs: a Request (JSON) on stdin, the pid of the agent as argument, an Answer (JSON) on stdout.

An error that has no place in an Answer ends in a traceback on stderr and status 1, which the agent tells in one line.
"""

import sys
from pathlib import Path

import msgspec
from tuf.api.exceptions import DownloadError, ExpiredMetadataError, RepositoryError, SlowRetrievalError

from agent.bundles.disk import storage_errors
from agent.bundles.trust import Answer, Failure, Request
from agent.bundles.tuf_client import Client
from agent.bundles.tuf_fetcher import Fetcher
from agent.errors import StorageError
from agent.parent import die_with


def answer(request: Request) -> Answer:
    """Do what is asked for."""
    folder = Path(request.folder)
    try:
        with storage_errors(folder):
            client = Client(folder, request.metadata_url, request.root, Fetcher(request.limits), request.now)
            client.refresh()
            return Answer(client.listing())
    except ExpiredMetadataError as error:
        failure = Failure("expired", str(error))
    except RepositoryError as error:
        failure = Failure("untrusted", str(error))
    except SlowRetrievalError as error:
        failure = Failure("too_slow", str(error))
    except DownloadError as error:
        failure = Failure("network", str(error))
    except StorageError as error:
        failure = Failure(error.code, str(error))
    return Answer(failure=failure)


def main() -> None:
    """Die with the agent, and answer it."""
    die_with(int(sys.argv[1]))
    request = msgspec.json.decode(sys.stdin.buffer.read(), type=Request)
    sys.stdout.buffer.write(msgspec.json.encode(answer(request)))


if __name__ == "__main__":
    main()
