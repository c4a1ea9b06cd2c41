// Reads {publicKeys: {hint: PEM}, cases: [bundle…]} on stdin; says for each bundle what @sigstore/verify makes of it.
import { createRequire } from 'node:module';
const require = createRequire(process.env.MODULES + '/');
const { bundleFromJSON } = require('@sigstore/bundle');
const { Verifier, toTrustMaterial, toSignedEntity } = require('@sigstore/verify');
const { createPublicKey } = require('node:crypto');
const { TrustedRoot } = require('@sigstore/protobuf-specs');

let text = '';
for await (const piece of process.stdin) text += piece;
const { publicKeys, cases } = JSON.parse(text);
const find = (hint) => {
  const pem = publicKeys[hint];
  if (!pem) throw new Error(`no key ${hint}`);
  return { publicKey: createPublicKey(pem), validFor: () => true };
};
const root = TrustedRoot.fromJSON({
  mediaType: 'application/vnd.dev.sigstore.trustedroot+json;version=0.1',
  tlogs: [], certificateAuthorities: [], ctlogs: [], timestampAuthorities: [],
});
const verifier = new Verifier(toTrustMaterial(root, find), { tlogThreshold: 0, ctlogThreshold: 0, timestampThreshold: 0 });
const said = cases.map((bundle) => {
  try {
    verifier.verify(toSignedEntity(bundleFromJSON(bundle)));
    return 'ok';
  } catch (error) {
    return `${error.code ?? error.name}: ${error.message}`;
  }
});
console.log(JSON.stringify(said));
