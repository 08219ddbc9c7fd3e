/** Asking what runs on the machine whether it answers. */

export type ProbeAnswer =
  | { readonly isPassed: true }
  /** CamelCase: HttpStatus, ConnectionRefused, TimedOut, NoAnswer. */
  | { readonly isPassed: false; readonly reason: string; readonly message: string };

export interface Probes {
  /** GET; status 200 to 399 passes, redirects are not followed, a certificate is not verified (as a kubelet's own probes). Never throws but for the signal. */
  http(url: string, timeoutMs: number, signal: AbortSignal): Promise<ProbeAnswer>;
  /** A connection to a port of the machine's loopback. */
  tcp(port: number, timeoutMs: number, signal: AbortSignal): Promise<ProbeAnswer>;
}
