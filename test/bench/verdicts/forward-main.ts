/**
 * A unix socket's connections go on to a TCP port of this network namespace, for who is in another one: the file system is what both share.
 * Usage: forward-main.ts SOCKET HOST PORT
 */
import { connect } from "node:net";
import { forwarder } from "./forward.ts";

const [socket, host, port] = process.argv.slice(2);
forwarder(() => connect({ host: host!, port: Number(port) })).listen(socket);
