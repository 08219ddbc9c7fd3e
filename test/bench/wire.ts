/**
 * What an idle agent costs its network: bytes per minute, both ways, counted in the machine's own network namespace once it has settled.
 * Counted are IP packets with their headers, as a router would bill them: neither the frames around them nor ARP.
 */
import { setTimeout as pause } from "node:timers/promises";
import type { LightMachine } from "../testbed/light/light-machine.ts";
import { eventually } from "../testbed/program.ts";
import { Site } from "../testbed/site.ts";
import { median } from "./process-cost.ts";
import type { Scenario } from "./scenario.ts";

const INTERVAL = "30s";
const ETHERNET_BYTES = 14;
/** By then it has its interval, its first session is over and its first reports are acknowledged. */
const SETTLE_MS = 150_000;

/** Where sessions go; all else is the bus. */
const SESSION_PORT = "7443";

interface Counted {
  readonly bytes: number;
  readonly packets: number;
  /** Of bytes: those of sessions with the coordinator, which an idle agent opens now and then to poll. */
  readonly sessionBytes: number;
}

export const wireScenario: Scenario = {
  name: "wire",
  summary: "bytes per minute of one idle agent at 30 s heartbeats, TLS, both ways, TCP/IP headers, acks, pings and polls counted",
  async run({ minutes, say }) {
    await using site = await Site.make({ coordinatorConfig: { heartbeats: { shortestInterval: INTERVAL } } });
    const machine = await site.addMachine("wire-1", {});
    await eventually("the machine is enrolled", 60_000, async () => (await site.drover(["get", "node", "wire-1"])).exitCode === 0);
    // Rules without a target count and change nothing.
    await mustRun(machine, "iptables", ["-A", "INPUT", "-p", "tcp", "--sport", SESSION_PORT]);
    await mustRun(machine, "iptables", ["-A", "OUTPUT", "-p", "tcp", "--dport", SESSION_PORT]);
    say(`enrolled; settling ${SETTLE_MS / 1000} s`);
    await pause(SETTLE_MS);
    const perMinute: Counted[] = [];
    const startedAtMs = performance.now();
    let last = await countedAt(machine);
    for (let minute = 1; minute <= minutes; minute += 1) {
      await pause(startedAtMs + minute * 60_000 - performance.now());
      const now = await countedAt(machine);
      const counted = {
        bytes: now.bytes - last.bytes,
        packets: now.packets - last.packets,
        sessionBytes: now.sessionBytes - last.sessionBytes,
      };
      perMinute.push(counted);
      last = now;
      say(`minute ${minute}: ${counted.bytes} B in ${counted.packets} packets, ${counted.sessionBytes} B of them a session's`);
    }
    const mean = (of: (counted: Counted) => number): number => perMinute.reduce((sum, each) => sum + of(each), 0) / perMinute.length;
    return {
      scenario: "wire",
      tier: "one real agent in a light machine (own network namespace), real coordinator and NATS, TLS",
      conditions: { minutes, heartbeats: INTERVAL, packetsPerMinute: mean(({ packets }) => packets).toFixed(1) },
      figures: [
        // The mean: what comes only every few minutes is in it.
        { name: "wire_bytes", value: mean(({ bytes }) => bytes), unit: "B/min", limit: 450 },
        { name: "wire_bus_bytes", value: mean(({ bytes, sessionBytes }) => bytes - sessionBytes), unit: "B/min" },
        { name: "wire_session_bytes", value: mean(({ sessionBytes }) => sessionBytes), unit: "B/min" },
        { name: "wire_bytes_median", value: median(perMinute.map(({ bytes }) => bytes)), unit: "B/min" },
      ],
    };
  },
};

/** What IP has sent and received, headers included, except over the loopback: frames' headers and ARP are in neither. */
async function countedAt(machine: LightMachine): Promise<Counted> {
  const [names, values] = (await machine.readFile("/proc/net/netstat")).split("\n").filter((line) => line.startsWith("IpExt:"));
  const columns = names!.split(" ");
  const octets = (name: string): number => Number(values!.split(" ")[columns.indexOf(name)]);
  const interfaces = await machine.readFile("/proc/net/dev");
  const sent = (name: string): Pick<Counted, "bytes" | "packets"> => {
    const fields = interfaces
      .split("\n")
      .find((line) => line.trim().startsWith(`${name}:`))!
      .trim()
      .split(/[:\s]+/);
    return { bytes: Number(fields[9]), packets: Number(fields[2]) + Number(fields[10]) };
  };
  const loopback = sent("lo");
  // Each packet of the loopback is sent and received, with a frame's header that only the interface counts.
  const own = 2 * loopback.bytes - ETHERNET_BYTES * loopback.packets;
  const rules = (await mustRun(machine, "iptables", ["-L", "-nvx"])).split("\n").filter((line) => line.includes(`pt:${SESSION_PORT}`));
  const sessionBytes = rules.reduce((sum, rule) => sum + Number(rule.trim().split(/\s+/)[1]), 0);
  return { bytes: octets("InOctets") + octets("OutOctets") - own, packets: sent("eth0").packets, sessionBytes };
}

async function mustRun(machine: LightMachine, program: string, args: readonly string[]): Promise<string> {
  const { exitCode, stdout, stderr } = await machine.run(program, args);
  if (exitCode !== 0) throw new Error(`${program} ${args.join(" ")} ended with ${exitCode}: ${stderr}`);
  return stdout;
}
