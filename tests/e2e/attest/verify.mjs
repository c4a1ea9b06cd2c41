// Reads {publicKeys: {hint: PEM}, trustedRoot, policy, cases: [bundle…]} on stdin; says for each bundle what @sigstore/verify makes of it.
import { createRequire } from 'node:module';
const require = createRequire(process.env.MODULES + '/');
const { bundleFromJSON } = require('@sigstore/bundle');
const { Verifier, toTrustMaterial, toSignedEntity } = require('@sigstore/verify');
const { createPublicKey } = require('node:crypto');
const { TrustedRoot } = require('@sigstore/protobuf-specs');

let text = '';
for await (const piece of process.stdin) text += piece;
const { publicKeys, cases, trustedRoot, policy } = JSON.parse(text);
const find = (hint) => {
  const pem = publicKeys[hint];
  if (!pem) throw new Error(`no key ${hint}`);
  return { publicKey: createPublicKey(pem), validFor: () => true };
};
const nobody = {
  mediaType: 'application/vnd.dev.sigstore.trustedroot+json;version=0.1',
  tlogs: [], certificateAuthorities: [], ctlogs: [], timestampAuthorities: [],
};
// A key's bundle is in no log; a certificate's must be in both.
const threshold = trustedRoot ? 1 : 0;
const verifier = new Verifier(toTrustMaterial(TrustedRoot.fromJSON(trustedRoot ?? nobody), find), {
  tlogThreshold: threshold, ctlogThreshold: threshold, timestampThreshold: threshold,
});
const said = cases.map((bundle) => {
  try {
    verifier.verify(toSignedEntity(bundleFromJSON(bundle)), policy ?? undefined);
    return 'ok';
  } catch (error) {
    return `${error.code ?? error.name}: ${error.message}`;
  }
});
console.log(JSON.stringify(said));
