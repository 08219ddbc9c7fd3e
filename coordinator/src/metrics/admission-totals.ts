/** What the front doors count, as metrics. */
import type { DoorCounts } from "../rpc/front-door.ts";
import type { AdmissionCounts } from "../rpc/servers.ts";
import type { Totals } from "./metrics.ts";

const HELP: Readonly<Record<keyof DoorCounts, readonly [name: string, help: string]>> = {
  accepted: ["connections_accepted_total", "Connections that reached the port."],
  handshakes: ["handshakes_total", "TLS handshakes done, resumed ones among them."],
  resumed: ["handshakes_resumed_total", "TLS handshakes that resumed a session."],
  refusedFull: ["connections_refused_total", "Connections closed at once: too many had not proved who they are."],
  tooSlow: ["connections_too_slow_total", "Connections closed because their handshake took too long."],
  failedHandshakes: ["handshakes_failed_total", "TLS handshakes that failed."],
  turnedAway: ["connections_turned_away_total", "Connections beyond their share or rate, told when to come again."],
  closed: ["connections_closed_total", "Connections beyond their share or rate, closed without a word."],
};

export function admissionTotals({ session, enrolment, held }: AdmissionCounts): ReturnType<Totals> {
  const counts = Object.entries(HELP).flatMap(([key, [name, help]]) =>
    Object.entries({ session, enrolment }).map(([port, counted]) => [
      `${port}_${name}`,
      { help: `On the ${port} port: ${help}`, value: counted[key as keyof DoorCounts] },
    ]),
  );
  return {
    ...(Object.fromEntries(counts) as ReturnType<Totals>),
    node_connections: { help: "Connections that nodes hold.", value: held.node },
    operator_connections: { help: "Connections that operators hold.", value: held.operator },
    stranger_connections: { help: "Connections whose handshake is not done.", value: held.stranger },
  };
}
