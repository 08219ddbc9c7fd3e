/** One look at a machine: what the undo has to bring back, the try record, and since when the agent runs. */
import type { Machine } from "../../testbed/machine.ts";

/** As far as it matters here; see agent/src/reconcile/try-record.ts. */
export interface SeenTry {
  readonly generation: number;
  readonly bootId: string;
  /** On the boot-time clock. */
  readonly deadlineMs: number;
  readonly phase: "trying" | "applied" | "undoing";
  readonly kinds: readonly string[];
}

export interface Look {
  /** On the boot-time clock, before anything else was read. */
  readonly atMs: number;
  /** When the running agent was started, on the same clock; undefined: none runs. */
  readonly agentStartMs: number | undefined;
  readonly tried: SeenTry | undefined;
  /** Files, live values, whether CRI answers, whether the kubelet is active: the same text is the same state. */
  readonly state: string;
}

const TICKS_PER_SECOND = 100;
const SEPARATOR = "-=-=-";
const KEYS = ["net/core/somaxconn", "net/ipv4/conf/all/rp_filter", "net/ipv4/ip_local_reserved_ports"];
const FILES = ["/etc/sysctl.d/90-drover.conf", "/etc/containerd/config.toml"];

export async function look(machine: Machine, hasKubelet: boolean): Promise<Look> {
  const parts = [
    "cut -d' ' -f1 /proc/uptime",
    // Behind the name, which may hold blanks: the 22nd field of all is the 20th.
    "pid=$(systemctl show drover-agent.service | sed -n 's/^MainPID=//p'); sed 's/^.*) //' /proc/$pid/stat 2>/dev/null | cut -d' ' -f20",
    "cat /var/lib/drover-agent/try.json 2>/dev/null",
    [
      ...KEYS.map((key) => `echo ${key} $(cat /proc/sys/${key})`),
      ...FILES.map((file) => `echo ${file}; cat ${file} 2>/dev/null`),
      'echo cri $(timeout 5 ctr plugins ls 2>/dev/null | awk \'$1 == "io.containerd.grpc.v1" && $2 == "cri" { print $4 }\')',
      ...(hasKubelet ? ["cat /var/lib/kubelet/config.yaml; echo; echo kubelet $(systemctl is-active kubelet.service)"] : []),
    ].join("; "),
  ];
  const { stdout } = await machine.run("sh", ["-c", parts.join(`; echo; echo '${SEPARATOR}'; `)]);
  const [uptime = "", started = "", record = "", state = ""] = stdout.split(`${SEPARATOR}\n`).map((part) => part.trim());
  return {
    atMs: Number(uptime) * 1000,
    agentStartMs: started === "" ? undefined : (Number(started) / TICKS_PER_SECOND) * 1000,
    tried: record === "" ? undefined : (JSON.parse(record) as SeenTry),
    state,
  };
}

/** For people: the lines that differ. */
export function difference(before: string, now: string): string {
  const [had, has] = [before.split("\n"), now.split("\n")];
  const gone = had.filter((line) => !has.includes(line)).map((line) => `-${line}`);
  const come = has.filter((line) => !had.includes(line)).map((line) => `+${line}`);
  return [...gone, ...come].join(" ").slice(0, 600);
}
