// Package client asks a person through an Assent server, or any OpenID CIBA server in poll mode, and collects the
// answer.
//
//	c, err := client.New(ctx, client.Config{Issuer: "https://assent.example", ID: "travel", Secret: secret})
//	waiting, err := c.Ask(ctx, client.Ask{Hint: "ann", Scope: "openid", Details: details})
//	token, err := c.Wait(ctx, waiting)
//
// [Client.Wait] survives lost answers, restarts of the server and, because [Waiting] can be written down, restarts of
// the agent. It tells a person's no ([ErrDenied], with the note in [Denied]) from silence ([ErrExpired]), from nobody
// having been reached ([ErrUnreachable]) and from a withdrawal ([ErrWithdrawn]).
//
// It needs the standard library only, and it does not check signatures: the token is for the resource server.
package client
