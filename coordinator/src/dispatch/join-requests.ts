/**
 * Nodes that ask for what proves that they may join their cluster: checked, limited and answered here, minted elsewhere. One is under way for
 * a node; a newer question takes the place of the one before, whose token would be worthless. The token leaves in the answer alone.
 */
import { type Clock, DeadlineExceeded, type Log, withDeadline } from "@drover/lifecycle";
import type { JoinCredential, JoinCredentialRequest } from "@drover/proto";
import type { JoinCredentialAnswer, JoinCredentialWanted } from "../cluster/clusters.ts";
import { type RateLimit, rateLimit } from "../identity/rate-limit.ts";
import { wordless } from "../wordless-error.ts";

/** Less than the node waits. */
const MINT_DEADLINE_MS = 25_000;
/** What the one before may take to clean up after itself. */
const CLEAN_UP_MS = 5_000;
const MAX_REQUEST_ID = 64;
const CLUSTER_NAME = /^[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?$/;

export interface JoinRequestsParts {
  readonly clock: Clock;
  readonly log: Log;
  /** undefined where there are no clusters. */
  readonly mint: ((wanted: JoinCredentialWanted, signal: AbortSignal) => Promise<JoinCredentialAnswer>) | undefined;
}

interface UnderWay {
  readonly stop: AbortController;
  /** When the minting itself has ended, however long after it was told to; never rejects. */
  settled: Promise<unknown>;
}

type Answer = JoinCredentialAnswer | { readonly ok: false; readonly reason: string; readonly message: string };

export class JoinRequests {
  readonly #parts: JoinRequestsParts;
  readonly #underWay = new Map<string, UnderWay>();
  /** Together: one in 2 s, and never more than 10 in a minute. */
  readonly #limits: readonly RateLimit[];

  constructor(parts: JoinRequestsParts) {
    this.#parts = parts;
    this.#limits = [rateLimit(parts.clock, { burst: 1, perSecond: 0.5 }), rateLimit(parts.clock, { burst: 5, perSecond: 5 / 60 })];
  }

  /** Never rejects. @param signal aborts when the node's session is over */
  async answer(nodeId: string, request: JoinCredentialRequest, signal: AbortSignal): Promise<JoinCredential> {
    const { requestId, cluster, generation } = request;
    const refused = (reason: string, message: string): JoinCredential => ({
      requestId,
      bootstrapToken: "",
      expiresAtMs: 0,
      reason,
      message,
    });
    if (this.#parts.mint === undefined) return refused("NoClusters", "this coordinator has no clusters in care");
    if (!CLUSTER_NAME.test(cluster)) return refused("InvalidRequest", "cluster is no name of a Cluster");
    if (!Number.isSafeInteger(generation) || generation < 1) return refused("InvalidRequest", "generation must be a number from 1");
    if (!this.#limits.every((limit) => limit.take(nodeId))) return refused("RateLimited", "too many join credentials were asked for; wait");
    const answer = await this.#mintAfterTheOneBefore({ nodeId, cluster, generation }, signal);
    if (!answer.ok) return refused(answer.reason, answer.message);
    return { requestId, bootstrapToken: answer.token.reveal(), expiresAtMs: answer.expiresAtMs, reason: "", message: "" };
  }

  async #mintAfterTheOneBefore(wanted: JoinCredentialWanted, signal: AbortSignal): Promise<Answer> {
    const { nodeId } = wanted;
    const before = this.#underWay.get(nodeId);
    before?.stop.abort(new Error("the node asked again"));
    const own: UnderWay = { stop: new AbortController(), settled: before?.settled ?? Promise.resolve() };
    const onAbort = (): void => own.stop.abort(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    if (signal.aborted) onAbort();
    this.#underWay.set(nodeId, own);
    try {
      return await this.#mint(wanted, own);
    } finally {
      signal.removeEventListener("abort", onAbort);
      const forget = (): void => {
        if (this.#underWay.get(nodeId) === own) this.#underWay.delete(nodeId);
      };
      void own.settled.then(forget);
    }
  }

  async #mint(wanted: JoinCredentialWanted, own: UnderWay): Promise<Answer> {
    const { clock, log, mint } = this.#parts;
    const { signal } = own.stop;
    try {
      return await withDeadline(clock, "a join credential", MINT_DEADLINE_MS, signal, async (stop) => {
        const before = own.settled;
        await withDeadline(clock, "cleaning up", CLEAN_UP_MS, stop, () => before).catch(() => undefined);
        stop.throwIfAborted();
        const minted = mint!(wanted, stop);
        own.settled = minted.catch(() => undefined);
        return minted;
      });
    } catch (error) {
      const { nodeId: node, cluster } = wanted;
      if (signal.aborted) return { ok: false, reason: "Superseded", message: "the node asked again, or left" };
      if (error instanceof DeadlineExceeded) {
        log.warn({ node, cluster }, "a join credential was not ready in time");
        return { ok: false, reason: "TimedOut", message: `the cluster did not answer within ${MINT_DEADLINE_MS / 1000} s` };
      }
      log.error({ node, cluster, err: wordless(error, "a bootstrap token was minted") }, "a join credential could not be made");
      return { ok: false, reason: "Internal", message: "the coordinator failed; its log says why" };
    }
  }
}

/** What is echoed must be bounded; a node that breaks this speaks another protocol. */
export function isRequestId(text: string): boolean {
  return text !== "" && text.length <= MAX_REQUEST_ID;
}
