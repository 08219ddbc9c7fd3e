/** A certificate that is server, client and its own CA: for peers on loopback. */
import { join } from "node:path";
import { execa } from "execa";

export async function makeCertificate(directory: string): Promise<{ readonly keyFile: string; readonly certFile: string }> {
  const [keyFile, certFile] = [join(directory, "key.pem"), join(directory, "cert.pem")];
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", keyFile];
  const subject = ["-subj", "/CN=peer", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", "-days", "2", "-out", certFile];
  await execa("openssl", ["req", "-x509", ...key, ...subject]);
  return { keyFile, certFile };
}
