#!/usr/bin/env python3
"""Verifies the log of a state folder without Runwarden: Python's standard library and `openssl`.

    verify_log.py STATE VKEY

Prints size and root and exits 0 if the entries are those of the signed head, else says why not.
"""
import base64, hashlib, json, pathlib, sqlite3, subprocess, sys, tempfile


def sha(data):
    return hashlib.sha256(data).digest()


def root(leaves):  # RFC 6962, 2.1
    if len(leaves) < 2:
        return leaves[0] if leaves else sha(b"")
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return sha(b"\1" + root(leaves[:split]) + root(leaves[split:]))


def check(holds, why):
    if not holds:
        sys.exit("not the signed log: " + why)


state, vkey = pathlib.Path(sys.argv[1]).resolve(), sys.argv[2]
name, key_id, key = vkey.split("+", 2)
key = base64.b64decode(key)
check(sha(name.encode() + b"\n" + key)[:4].hex() == key_id, "the vkey's id is not its key's")

db = sqlite3.connect(f"file:{state}/log.db?mode=ro", uri=True)
db.execute("BEGIN")  # One moment of the log, even while an agent writes.
leaves, prev = [], "0" * 64
for seq, data in db.execute("SELECT seq, bytes FROM entries ORDER BY seq"):
    entry = json.loads(data)
    check(seq == entry["seq"] == len(leaves), f"entry {len(leaves)} is number {seq}")
    check(entry["prev"] == prev, f"entry {seq} does not follow entry {seq - 1}")
    leaves.append(sha(b"\0" + data))
    prev = leaves[-1].hex()
(note,) = db.execute("SELECT note FROM head").fetchone()

text, signatures = note.split("\n\n")
origin, size, signed_root = text.split("\n")
check(origin == name, f"the head is of {origin}")
check(int(size) == len(leaves), f"the head has {size} entries, the table {len(leaves)}")
check(base64.b64decode(signed_root) == root(leaves), "the root is another")
lines = [line.split(" ") for line in signatures.strip().split("\n")]
blobs = [base64.b64decode(line[2]) for line in lines if line[:2] == ["\u2014", name]]
signed = [blob[4:] for blob in blobs if blob[:4].hex() == key_id]
check(len(signed) == 1, "the key has not signed the head")
with tempfile.TemporaryDirectory() as folder:
    at = pathlib.Path(folder)
    (at / "key").write_bytes(bytes.fromhex("302a300506032b6570032100") + key[1:])  # RFC 8410
    (at / "sig").write_bytes(signed[0])
    (at / "text").write_bytes(text.encode() + b"\n")
    command = "openssl pkeyutl -verify -pubin -keyform DER -rawin -inkey key -sigfile sig -in text"
    done = subprocess.run(command.split(), cwd=at, capture_output=True)
    check(done.returncode == 0, "the signature does not fit")
print(size, signed_root)
