#!/usr/bin/env python3
"""Ask cairnd a question, and answer only from what it cites. Needs python3-msgpack; the key is in CAIRN_KEY.

    CAIRN_KEY=... python3 tools/ask.py unix:/run/cairn.sock INDEX 'a question'
"""
import os, socket, sys
import msgpack

def connect(address):
    if address.startswith("unix:"):
        s = socket.socket(socket.AF_UNIX)
        s.connect(address[5:])
    else:
        host, port = address.removeprefix("tcp://").rsplit(":", 1)
        s = socket.create_connection((host, int(port)))
    return s, msgpack.Unpacker(raw=False)

def call(conn, method, **params):                    # MessagePack-RPC: [0, id, method, [params]] -> [1, id, error, result]
    s, unpacker = conn
    s.sendall(msgpack.packb([0, 1, method, [params]]))
    while True:
        for _, _, error, result in unpacker:
            if error:
                sys.exit(f"cairn: {error[1]}")
            return result
        unpacker.feed(s.recv(65536) or sys.exit("cairn: the server closed the connection"))

address, index, question = sys.argv[1:4]
conn = connect(address)
call(conn, "auth", key=os.environ["CAIRN_KEY"])
answer = call(conn, "query", index=index, text=question, k=3)
if answer["evidence"] == "none":
    print("There is no evidence for an answer in the sources that you may read.")
else:
    for n, hit in enumerate(answer["hits"], 1):
        print(f"[{n}] {hit['doc']} bytes {hit['bytes'][0]}-{hit['bytes'][1]}, {' > '.join(hit['headings'])}: {' '.join(hit['text'].split())[:200]}")
made = answer["made_by"]
print("made by:", ", ".join(f"{k} {made[k]}" for k in ("index", "version", "root", "embedder", "embedder_digest", "parser", "chunker", "policy_epoch", "mode", "search", "trace_id", "build")))
