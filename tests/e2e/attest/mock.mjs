// Fulcio, Rekor and the timestamp authority of @sigstore/mock behind HTTP. Prints one line of JSON: the address, and the client trust configuration.
import { createRequire } from 'node:module';
import http from 'node:http';
import crypto from 'node:crypto';
const require = createRequire(process.env.MODULES + '/');
const { initializeCA, initializeCTLog, initializeTLog, initializeTSA, fulcioHandler, rekorHandler } = require('@sigstore/mock');
const pkijs = require('pkijs');
const canonicalize = require('canonicalize');

const pair = () => crypto.generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
const server = http.createServer();
await new Promise((done) => server.listen(0, '127.0.0.1', done));
const address = `http://127.0.0.1:${server.address().port}`;
const ctlog = await initializeCTLog(pair());
const ca = await initializeCA(pair(), ctlog);
const tlog = await initializeTLog(address, pair());
const fulcio = fulcioHandler(ca, { strict: true });
const rekor = rekorHandler(tlog, { strict: true });
const tsa = await initializeTSA(pair());
let certificates = 0;

// The mock keeps a nonce as a number, and those that clients send are longer.
const tstInfo = tsa.tstInfo.bind(tsa);
tsa.tstInfo = (request) => Object.assign(tstInfo({ ...request, nonce: 1 }), { nonce: request.nonce });

// RFC 3161, from the bytes of the question to those of the answer.
const timestamp = async (body) => {
  const question = pkijs.TimeStampReq.fromBER(body);
  return {
    statusCode: 201,
    contentType: 'application/timestamp-reply',
    response: await tsa.timestamp({
      artifactHash: Buffer.from(question.messageImprint.hashedMessage.valueBlock.valueHexView),
      hashAlgorithmOID: question.messageImprint.hashAlgorithm.algorithmId,
      nonce: question.nonce, policyOID: '1.3.6.1.4.1.57264.2', certReq: question.certReq ?? false,
    }),
  };
};

// What Rekor's own server makes of a proposed dsse entry.
const entry = (proposed) => {
  if (proposed.kind !== 'dsse') return proposed;
  const envelope = JSON.parse(proposed.spec.proposedContent.envelope);
  const verifier = proposed.spec.proposedContent.verifiers[0];
  const sha256 = (data) => crypto.createHash('sha256').update(data).digest('hex');
  return {
    apiVersion: '0.0.1', kind: 'dsse',
    spec: {
      envelopeHash: { algorithm: 'sha256', value: sha256(proposed.spec.proposedContent.envelope) },
      payloadHash: { algorithm: 'sha256', value: sha256(Buffer.from(envelope.payload, 'base64')) },
      signatures: envelope.signatures.map(({ sig }) => ({ signature: sig, verifier })),
    },
  };
};

server.on('request', async (request, response) => {
  const pieces = [];
  for await (const piece of request) pieces.push(piece);
  const raw = Buffer.concat(pieces);
  const body = raw.toString();
  let answer = { statusCode: 404, response: 'not here' };
  if (request.url === '/certificates') answer = { statusCode: 200, response: String(certificates) };
  if (request.url.startsWith('/api/v2/signingCert')) {
    certificates += 1;
    const document = JSON.parse(body);
    document.credentials = { oidcIdentityToken: (request.headers.authorization ?? '').replace('Bearer ', '') };
    document.certificateSigningRequest = Buffer.from(document.certificateSigningRequest, 'base64').toString();
    answer = await fulcio.fn(JSON.stringify(document));
  }
  if (request.url.startsWith('/api/v1/log/entries')) answer = await rekor.fn(JSON.stringify(entry(JSON.parse(body))));
  if (request.url === '/api/v1/timestamp') answer = await timestamp(raw);
  response.writeHead(answer.statusCode, { 'content-type': answer.contentType ?? 'text/plain' });
  response.end(answer.response);
});

const log = (it, baseUrl) => ({
  baseUrl, hashAlgorithm: 'SHA2_256',
  publicKey: {
    rawBytes: Buffer.from(it.publicKey).toString('base64'), keyDetails: 'PKIX_ECDSA_P256_SHA_256',
    validFor: { start: '2020-01-01T00:00:00Z' },
  },
  logId: { keyId: crypto.createHash('sha256').update(it.publicKey).digest('base64') },
});
const service = (url, majorApiVersion) => ({ url, majorApiVersion, validFor: { start: '2020-01-01T00:00:00Z' }, operator: 'mock' });
const trust = {
  mediaType: 'application/vnd.dev.sigstore.clienttrustconfig.v0.1+json',
  trustedRoot: {
    mediaType: 'application/vnd.dev.sigstore.trustedroot+json;version=0.1',
    tlogs: [log(tlog, address)],
    certificateAuthorities: [{
      subject: { organization: 'sigstore.mock', commonName: 'sigstore' }, uri: address,
      certChain: { certificates: [{ rawBytes: Buffer.from(ca.rootCertificate).toString('base64') }] },
      validFor: { start: '2020-01-01T00:00:00Z' },
    }],
    ctlogs: [log(ctlog, address)],
    timestampAuthorities: [{
      subject: { organization: 'sigstore.mock', commonName: 'tsa signing' }, uri: address,
      certChain: { certificates: [tsa.intCertificate, tsa.rootCertificate].map((it) => ({ rawBytes: it.toString('base64') })) },
      validFor: { start: '2020-01-01T00:00:00Z' },
    }],
  },
  signingConfig: {
    mediaType: 'application/vnd.dev.sigstore.signingconfig.v0.2+json',
    caUrls: [service(address, 1)], oidcUrls: [service(address, 1)],
    rekorTlogUrls: [service(address, 1)], rekorTlogConfig: { selector: 'ANY' },
    tsaUrls: [service(`${address}/api/v1/timestamp`, 1)], tsaConfig: { selector: 'ANY' },
  },
};
console.log(JSON.stringify({ address, trust }));
