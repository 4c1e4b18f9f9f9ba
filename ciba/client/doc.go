// Package client lets an agent ask a person, through an Assent server or any other OpenID CIBA server, and collect the
// answer. It needs the standard library only.
//
//	c, err := client.New(ctx, client.Config{Issuer: "https://assent.example", ID: "travel", Secret: secret})
//	w, err := c.Ask(ctx, client.Ask{Hint: "ann", Message: "TEAL-7", Details: details})
//	token, err := c.Wait(ctx, w)
//	resp, err := c.Do(request, token)
//
// # How a request ends
//
// [Client.Wait] returns a [Token], or an error that says why there is none. It tells a person's no ([ErrDenied], with
// the note in [Denied]) from silence ([ErrExpired]), from nobody having been reached ([ErrUnreachable]) and from a
// withdrawal ([ErrWithdrawn]). Any other refusal of the server is an [*Error].
//
// It survives lost answers and restarts of the server. Because a [Waiting] can be written down as JSON, it survives
// restarts of the agent too: read it back and call Wait again. A handle is shown to nobody but the server that made it.
//
// # Poll and ping
//
// By default the client polls, and an Assent server holds each poll until the person decides, so the token arrives at
// once. An agent that has an address of its own may be registered for ping mode instead: set [Config.Ping] and serve
// [Client.Pings]. A ping that gets lost costs half a minute.
//
// # Showing who the agent is
//
// [Config] takes a client secret, a private key (private_key_jwt) or a TLS certificate of [Config.HTTP]. Keys are
// [crypto.Signer], so they may lie in an HSM. With [Config.RequestKey] every request is signed; with [Config.DPoP], or
// a certificate, a stolen token is of no use, and a request that was made with a DPoP key has to be resumed with it.
//
// # What is trusted
//
// The issuer must be what it was configured to be, byte for byte, over TLS (plain HTTP is for this machine only). A
// token response is handed out only if its type is the one that was set up, and its ID token has the server's signature and
// belongs to this client, request and access token; everything else is [ErrBadToken]. The access token itself is for
// the API to judge.
//
// A [Client] reads the discovery document once and keeps it. It is safe for concurrent use.
package client
