// An OpenID provider (oidc-provider, certified) with some people and one client, until it is ended.
// Arguments: the folder of its modules, the port of its issuer, where people are sent back, where they go after leaving, and where they
// are wanted: the port that it listens on if something stands before it, and the id of a key of its own.
import { generateKeyPairSync } from 'node:crypto';
import { pathToFileURL } from 'node:url';

const [modules, port, callback, left, listens = port, keyId] = process.argv.slice(2);
const { default: Provider } = await import(pathToFileURL(`${modules}/node_modules/oidc-provider/lib/index.js`));

const people = {
  ann: { sub: 'ann', email: 'ann@example.com', email_verified: true, groups: ['dev'] },
  bob: { sub: 'bob', email: 'bob@example.com', email_verified: true, groups: ['dev', 'ops'] },
  // More than one cookie holds, and more than is kept of anybody.
  many: { sub: 'many', email: 'many@example.com', email_verified: true, groups: Array.from({ length: 90 }, (_, n) => `a-group-with-a-long-name-${n}`) },
  most: { sub: 'most', email: 'most@example.com', email_verified: true, groups: Array.from({ length: 200 }, (_, n) => `a-group-with-a-long-name-${n}`) },
};

const key = () => ({ ...generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' }), kid: keyId, use: 'sig', alg: 'RS256' });

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [{
    client_id: 'shop',
    client_secret: 'a secret between the two of us',
    redirect_uris: [callback],
    post_logout_redirect_uris: [left],
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
  }, {
    // A workflow that fetches tokens for itself.
    client_id: 'gate',
    client_secret: 'a secret of the gate',
    redirect_uris: [],
    grant_types: ['client_credentials'],
    response_types: [],
  }],
  ...(keyId ? { jwks: { keys: [key()] } } : {}),
  features: { clientCredentials: { enabled: true } },
  claims: { openid: ['sub', 'groups'], email: ['email', 'email_verified'] },
  scopes: ['openid', 'email', 'offline_access'],
  conformIdTokenClaims: false,
  pkce: { required: () => true },
  issueRefreshToken: async () => true,
  rotateRefreshToken: true,
  ttl: { ClientCredentials: Number(process.env.GRANT_SECONDS ?? 3), AccessToken: 3, IdToken: 60, RefreshToken: 600, Session: 600, Grant: 600, Interaction: 600, AuthorizationCode: 60 },
  cookies: { keys: ['of the provider alone'] },
  findAccount: async (_, id) => people[id] && { accountId: id, claims: async () => people[id] },
});
provider.listen(Number(listens), '127.0.0.1', () => console.log('ready'));
