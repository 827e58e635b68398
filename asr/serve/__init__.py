"""The server: an HTTP interface of OpenAI's form, vosk-server's websocket, and the page at `/`.

In: recogniser bundles and `ServerSettings`. Out: a Starlette application, and the process that
serves it. Needs the extra `serve`; no module but `settings.py` may be imported without it.

settings.py        every limit of the server
models.py          bundles by name; their decoders with hot words; the check before readiness
jobs.py            the queue, the threads that work on it, and how they put jobs into batches
transcriptions.py  POST /v1/audio/transcriptions
uploads.py         a multipart body within its limits
answers.py         a transcript in OpenAI's formats
streams.py         the websocket: vosk-server's protocol
stream_config.py   what its clients configure
wyoming.py         the same for Home Assistant
problems.py        errors in OpenAI's form
information.py     models, settings, health, readiness, metrics, the page
state.py           what the endpoints share; start and end
gate.py            what every request passes: log, metrics, token, origin, headers
metrics.py         counters in Prometheus' format
logs.py            one JSON object a line
connections.py     deadlines of connections; the graceful end
app.py             the parts put together
"""
