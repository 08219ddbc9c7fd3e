/** The coordinator's Operator service as promises and async iterables, its errors as CliErrors. */
import { ChannelCredentials, Client, Metadata, type ServiceError, status } from "@grpc/grpc-js";
import { OperatorService } from "@drover/proto";
import { CliError, type ExitCode, exitCodes } from "./cli-error.ts";
import type { Context } from "./context/context-file.ts";

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

  constructor(context: Context, timeoutMs: number) {
    this.endpoint = context.endpoint;
    this.#timeoutMs = timeoutMs;
    let credentials: ChannelCredentials;
    try {
      credentials = ChannelCredentials.createSsl(
        Buffer.from(context.caPem),
        Buffer.from(context.keyPem),
        Buffer.from(context.certificatePem),
      );
    } catch (error) {
      throw new CliError(
        exitCodes.auth,
        `the certificate or key of context '${context.name}' cannot be used: ${(error as Error).message}`,
        "drover-coordinator operator create",
      );
    }
    this.#client = new Client(context.endpoint, credentials, {
      "grpc.max_receive_message_length": 64 * 1024 * 1024,
      "grpc.enable_retries": 0,
    });
  }

  /** One call with a deadline. @throws CliError */
  call<M extends MethodsThat<false>>(method: M, request: RequestOf<M>): Promise<ResponseOf<M>> {
    const { path, requestSerialize, responseDeserialize } = OperatorService[method];
    return new Promise((resolve, reject) => {
      this.#client.makeUnaryRequest(
        path,
        requestSerialize as (value: RequestOf<M>) => Buffer,
        responseDeserialize as (bytes: Buffer) => ResponseOf<M>,
        request,
        new Metadata(),
        { deadline: Date.now() + this.#timeoutMs },
        (error, response) => {
          if (error === null && response !== undefined) resolve(response);
          else reject(this.#explain(error!));
        },
      );
    });
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
      throw this.#explain(error as ServiceError);
    } finally {
      signal?.removeEventListener("abort", cancel);
      answers.cancel();
    }
  }

  [Symbol.dispose](): void {
    this.#client.close();
  }

  #explain(error: ServiceError): CliError {
    const [exitCode, next] = meanings[error.code] ?? [exitCodes.failed, undefined];
    if (error.code === status.UNAVAILABLE)
      return new CliError(exitCode, `the coordinator at ${this.endpoint} cannot be reached: ${error.details}`, next);
    if (error.code === status.DEADLINE_EXCEEDED)
      return new CliError(exitCode, `the coordinator at ${this.endpoint} did not answer in time`, next);
    return new CliError(exitCode, error.details, next);
  }
}

const meanings: Partial<Record<status, readonly [ExitCode, string | undefined]>> = {
  [status.UNAVAILABLE]: [exitCodes.failed, "is it running there? drover-coordinator doctor; another one: drover --context NAME"],
  [status.UNAUTHENTICATED]: [exitCodes.auth, "drover-coordinator operator create NAME --role ROLE gives a certificate"],
  [status.PERMISSION_DENIED]: [exitCodes.auth, "drover whoami shows your role"],
  [status.NOT_FOUND]: [exitCodes.notFound, "drover get KIND lists what there is"],
  [status.ABORTED]: [exitCodes.conflict, "somebody changed it meanwhile: look again with drover get, then repeat"],
  [status.ALREADY_EXISTS]: [exitCodes.conflict, undefined],
  [status.FAILED_PRECONDITION]: [exitCodes.conflict, undefined],
  [status.DEADLINE_EXCEEDED]: [exitCodes.timeout, "a longer --request-timeout may help"],
  [status.INVALID_ARGUMENT]: [exitCodes.usage, undefined],
};
