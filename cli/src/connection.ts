/** The coordinator's Operator service as promises and async iterables, its errors as CliErrors. */
import { ChannelCredentials, Client, Metadata, type ServiceError, status } from "@grpc/grpc-js";
import { OperatorService } from "@drover/proto";
import { CliError, type ExitCode, exitCodes } from "./cli-error.ts";
import type { Context } from "./context/context-file.ts";
import { dialled, findDistrust } from "./dialled-address.ts";
import { createOperator, nextAfterAnswer, nextStep } from "./next-step.ts";

/** As the coordinator names the reason of each refusal in its trailers. */
const REASON_METADATA = "drover-reason";

type Methods = typeof OperatorService;
type RequestOf<M extends keyof Methods> = Parameters<Methods[M]["requestSerialize"]>[0];
type ResponseOf<M extends keyof Methods> = ReturnType<Methods[M]["responseDeserialize"]>;
type MethodsThat<Streams extends boolean> = {
  [M in keyof Methods]: Methods[M]["responseStream"] extends Streams ? M : never;
}[keyof Methods];

export class Connection implements Disposable {
  readonly endpoint: string;
  readonly #client: Client;
  readonly #timeoutMs: number;
  readonly #context: Context;

  constructor(context: Context, timeoutMs: number) {
    this.endpoint = context.endpoint;
    this.#context = context;
    this.#timeoutMs = timeoutMs;
    const { options, verify } = dialled(context.endpoint);
    let credentials: ChannelCredentials;
    try {
      credentials = ChannelCredentials.createSsl(
        Buffer.from(context.caPem),
        Buffer.from(context.keyPem),
        Buffer.from(context.certificatePem),
        verify,
      );
    } catch (error) {
      throw new CliError(
        exitCodes.auth,
        `the certificate or key of context '${context.name}' cannot be used: ${(error as Error).message}`,
        createOperator,
      );
    }
    this.#client = new Client(context.endpoint, credentials, {
      "grpc.max_receive_message_length": 64 * 1024 * 1024,
      "grpc.enable_retries": 0,
      ...options,
    });
  }

  /**
   * One call with a deadline.
   * @param leastMs what the coordinator itself allows for it, when that is more than people wait for a call
   * @throws CliError
   */
  async call<M extends MethodsThat<false>>(method: M, request: RequestOf<M>, leastMs = 0): Promise<ResponseOf<M>> {
    const { path, requestSerialize, responseDeserialize } = OperatorService[method];
    const { error, response } = await new Promise<{ error: ServiceError | null; response: ResponseOf<M> | undefined }>((resolve) => {
      this.#client.makeUnaryRequest(
        path,
        requestSerialize as (value: RequestOf<M>) => Buffer,
        responseDeserialize as (bytes: Buffer) => ResponseOf<M>,
        request,
        new Metadata(),
        { deadline: Date.now() + Math.max(leastMs, this.#timeoutMs) },
        (failure, answer) => resolve({ error: failure, response: answer }),
      );
    });
    if (error === null && response !== undefined) return response;
    throw await this.#explain(error!, request);
  }

  /** A stream of answers; cancelled when the signal aborts, which ends the iteration. @throws CliError */
  async *stream<M extends MethodsThat<true>>(method: M, request: RequestOf<M>, signal?: AbortSignal): AsyncGenerator<ResponseOf<M>> {
    const { path, requestSerialize, responseDeserialize } = OperatorService[method];
    const answers = this.#client.makeServerStreamRequest(
      path,
      requestSerialize as (value: RequestOf<M>) => Buffer,
      responseDeserialize as (bytes: Buffer) => ResponseOf<M>,
      request,
    );
    const cancel = (): void => answers.cancel();
    if (signal?.aborted === true) cancel();
    signal?.addEventListener("abort", cancel, { once: true });
    try {
      for await (const answer of answers) yield answer as ResponseOf<M>;
    } catch (error) {
      if (signal?.aborted === true) return;
      throw await this.#explain(error as ServiceError, request);
    } finally {
      signal?.removeEventListener("abort", cancel);
      answers.cancel();
    }
  }

  [Symbol.dispose](): void {
    this.#client.close();
  }

  async #explain(error: ServiceError, request: object): Promise<CliError> {
    const next = nextStep(error.code, request);
    // It did answer: what is not there, or took too long, is something else.
    const isAnswer = error.metadata.get(REASON_METADATA).length > 0;
    if (isAnswer && (error.code === status.UNAVAILABLE || error.code === status.DEADLINE_EXCEEDED)) {
      return new CliError(exitCodeOf[error.code] ?? exitCodes.failed, error.details, nextAfterAnswer(request));
    }
    if (error.code === status.UNAVAILABLE) {
      const distrust = await findDistrust(this.#context);
      if (distrust !== undefined) {
        const why = `the coordinator at ${this.endpoint} and context '${this.#context.name}' do not trust each other: ${distrust}`;
        return new CliError(exitCodes.auth, why, createOperator);
      }
      return new CliError(exitCodes.failed, `the coordinator at ${this.endpoint} cannot be reached: ${error.details}`, next);
    }
    const exitCode = exitCodeOf[error.code] ?? exitCodes.failed;
    if (error.code === status.DEADLINE_EXCEEDED)
      return new CliError(exitCode, `the coordinator at ${this.endpoint} did not answer in time`, next);
    return new CliError(exitCode, error.details, next);
  }
}

const exitCodeOf: Partial<Record<status, ExitCode>> = {
  [status.UNAUTHENTICATED]: exitCodes.auth,
  [status.PERMISSION_DENIED]: exitCodes.auth,
  [status.NOT_FOUND]: exitCodes.notFound,
  [status.ABORTED]: exitCodes.conflict,
  [status.ALREADY_EXISTS]: exitCodes.conflict,
  [status.FAILED_PRECONDITION]: exitCodes.conflict,
  [status.DEADLINE_EXCEEDED]: exitCodes.timeout,
  [status.INVALID_ARGUMENT]: exitCodes.usage,
};
