// Package upstream lets people sign in with an account that they have at an OpenID provider (OpenID Connect Core 1.0,
// authorization code flow with PKCE), and keeps which account is whose.
//
//	providers as the operator describes them     settings.go
//	where a provider is, and its keys            provider.go
//	sending somebody there                       begin.go
//	what comes back in the address               back.go
//	code to tokens, and how we prove who we are  exchange.go
//	what an ID token must say                    verify.go
//	how well the person is known after it        level.go
//	whose account it is                          account.go
//
// Nothing is stored when somebody sets out: the state is sealed for the one browser that holds a cookie, nonce and code
// verifier are derived from both, and a state is spent in the same transaction as what it led to. So a state counts once,
// also across restarts.
//
// An account is tied to a person by proof on both sides: the person is signed in here and signs in there. An e-mail
// address, a name or a domain never tie anything: providers let people change them, or never checked them. One account is
// one person's, and a person has one account at each provider. An account that nobody has tied leads nowhere; nobody
// becomes a person by signing in.
//
// A provider's word is worth a session at most ([approvals.LevelSession]). What takes phr takes our own passkey over the
// digest of what was on the screen: no ID token says which words a person has read, and a provider's passkey was asked
// about something else.
//
// The package owns the record kinds "upstream" (whose an account is), "upstreams" (all of one person) and "flow" (states
// that are spent). It refuses to know pages and sessions, to read userinfo, to keep tokens of a provider, to sign anybody
// out elsewhere, and to show or log a provider's words. Its HTTP client is handed in: operators choose the URLs, so they
// may lead inside, but time and size are bounded.
package upstream
