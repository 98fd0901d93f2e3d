#!/usr/bin/python3
"""mailbox - a small mail server to try Umbra with: keeps every message as a
file and prints a line about it. Not for anything else.

    mailbox.py PORT DIRECTORY
"""
import os
import socketserver
import sys
import time


class Session(socketserver.StreamRequestHandler):
    def say(self, line):
        self.wfile.write(line.encode() + b"\r\n")

    def data(self):
        self.say("354 go ahead")
        lines = []
        for line in self.rfile:
            if line == b".\r\n":
                break
            lines.append(line[1:] if line.startswith(b".") else line)
        name = "%d-%d.eml" % (time.time_ns(), os.getpid())
        path = os.path.join(self.server.directory, name)
        with open(path, "wb") as f:
            f.writelines(lines)
        print("mailbox: %s -> %s: %s" % (self.sender, " ".join(self.rcpts), path),
              flush=True)
        self.say("250 2.0.0 stored as " + name)

    def handle(self):
        self.sender, self.rcpts = "", []
        self.say("220 mailbox.example ESMTP")
        for raw in self.rfile:
            line = raw.decode("utf-8", "replace").strip()
            verb = line[:4].upper()
            if verb == "EHLO":
                self.say("250-mailbox.example\r\n250-PIPELINING\r\n"
                         "250-8BITMIME\r\n250-SMTPUTF8\r\n250 DSN")
            elif verb == "MAIL":
                self.sender, self.rcpts = line[10:].split(">")[0] + ">", []
                self.say("250 2.1.0 ok")
            elif verb == "RCPT":
                self.rcpts.append(line[8:].split(">")[0] + ">")
                self.say("250 2.1.5 ok")
            elif verb == "DATA":
                self.data()
            elif verb == "QUIT":
                self.say("221 2.0.0 bye")
                return
            else:
                self.say("250 2.0.0 ok")


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


def main():
    port, directory = int(sys.argv[1]), sys.argv[2]
    os.makedirs(directory, exist_ok=True)
    with Server(("127.0.0.1", port), Session) as server:
        server.directory = directory
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()
