import { spawn } from "node:child_process";
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { type Clock, sleep, systemClock, VirtualClock } from "@drover/lifecycle";
import { describe, expect, it } from "vitest";
import { tcpConnect } from "./tcp-connect.ts";
import { type Knock, reachableAddresses, TcpPath } from "./tcp-path.ts";

const A = "aaaaaaaaaa";
const { signal } = new AbortController();

describe("knocking at a port", () => {
  const knockAt = async (heard: readonly (readonly Knock[])[]): Promise<{ answer: string; atMs: readonly number[] }> => {
    const clock = new VirtualClock();
    const startMs = clock.monotonicMs();
    const atMs: number[] = [];
    const path = new TcpPath({
      clock,
      connect: async (address) => {
        if (address === "0") atMs.push(clock.monotonicMs() - startMs);
        return heard[atMs.length - 1]![Number(address)]!;
      },
      targetOf: () => ({ addresses: heard[0]!.map((_, index) => String(index)), port: 10250 }),
    });
    const answer = path.ask(A, signal);
    await clock.advance(20_000);
    return { answer: await answer, atMs };
  };

  it.each<[string, Knock[][], string, number[]]>([
    ["three times in vain", [["silent"], ["silent"], ["silent"]], "dead", [0, 4_000, 8_000]],
    ["with an answer at once", [["answered"]], "alive", [0]],
    ["with an answer at last", [["silent"], ["silent"], ["answered"]], "alive", [0, 4_000, 8_000]],
    ["when somebody on the way speaks for it", [["silent"], ["unproven"]], "none", [0, 4_000]],
    ["with an answer at one of two addresses", [["silent", "answered"]], "alive", [0]],
    ["with an answer at one address and none that counts at another", [["unproven", "answered"]], "alive", [0]],
    ["with one address in doubt", [["silent", "unproven"]], "none", [0]],
  ])("%s", async (_case, heard, answer, atMs) => {
    expect(await knockAt(heard)).toEqual({ answer, atMs });
  });

  it("needs a target", async () => {
    const path = new TcpPath({ clock: new VirtualClock(), connect: () => Promise.resolve("silent"), targetOf: () => undefined });
    expect([path.hasPath(A), await path.ask(A, signal)]).toEqual([false, "none"]);
  });
});

describe("the addresses to knock at", () => {
  const nic = (name: string, ...addresses: string[]) => ({ name, mac: "", addresses, speedMbits: 0 });

  it.each([
    [
      "those of the machine, not of what runs on it",
      [nic("docker0", "172.17.0.1"), nic("eth0", "10.0.0.7"), nic("kube-ipvs0", "10.96.0.1")],
      ["10.0.0.7"],
    ],
    ["IPv4 where there is one", [nic("eth0", "2001:db8::7", "10.0.0.7")], ["10.0.0.7"]],
    ["IPv6 where there is no other", [nic("eth0", "2001:db8::7", "::1", "fe80::1")], ["2001:db8::7"]],
    ["none of this machine here", [nic("eth0", "127.0.0.1", "0.0.0.0", "169.254.1.1", "not an address")], []],
    [
      "four at most",
      [nic("eth0", "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5")],
      ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"],
    ],
  ])("are %s", (_case, nics, expected) => {
    expect(reachableAddresses({ nics })).toEqual(expected);
  });
});

describe("a connect on a real socket", () => {
  const knock = tcpConnect(systemClock);

  it("is answered by who listens, and by a machine where nobody does", async () => {
    const server = createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    expect(await knock("127.0.0.1", port, signal)).toBe("answered");
    await new Promise((resolve) => server.close(resolve));
    expect(await knock("127.0.0.1", port, signal)).toBe("answered");
  });

  it("is silent after two seconds when nothing comes back, and proves nothing when we slept meanwhile", async () => {
    await withFullQueue(async (port) => {
      const startMs = performance.now();
      expect(await knock("127.0.0.1", port, signal)).toBe("silent");
      expect(performance.now() - startMs).toBeGreaterThan(1_990);
      let sleptMs = 0;
      const sleepy: Clock = { ...systemClock, monotonicMs: () => performance.now() + sleptMs };
      const answer = tcpConnect(sleepy)("127.0.0.1", port, signal);
      sleptMs = 1_000;
      expect(await answer).toBe("unproven");
    });
  });

  it("proves nothing where our own machine has no way there, or when it is broken off", async () => {
    expect(await knock("255.255.255.255", 10250, signal)).toBe("unproven");
    const stop = new AbortController();
    stop.abort();
    expect(await knock("127.0.0.1", 9, stop.signal)).toBe("unproven");
  });
});

/** A stopped process whose queue is full: its kernel drops every further SYN without a word. */
async function withFullQueue(work: (port: number) => Promise<void>): Promise<void> {
  const code = `const s = require("node:net").createServer(); s.listen({ port: 0, host: "127.0.0.1", backlog: 1 }, () => {
    process.stdout.write(String(s.address().port), () => process.kill(process.pid, "SIGSTOP")); });`;
  const stopped = spawn(process.execPath, ["-e", code], { stdio: ["ignore", "pipe", "inherit"] });
  const queued: Socket[] = [];
  try {
    const [text] = (await once(stopped.stdout, "data")) as [Buffer];
    const port = Number(text.toString());
    // What finds room in the queue is connected by the kernel.
    for (let isFull = false; !isFull && queued.length < 8; ) {
      const socket = connect(port, "127.0.0.1").on("error", () => undefined);
      queued.push(socket);
      isFull = await Promise.race([once(socket, "connect").then(() => false), sleep(systemClock, 500).then(() => true)]);
    }
    await work(port);
  } finally {
    for (const socket of queued) socket.destroy();
    stopped.kill("SIGKILL");
    await once(stopped, "exit");
  }
}
