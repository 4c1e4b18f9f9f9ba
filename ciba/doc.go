// Package ciba is the agents' door: OpenID Connect Client-Initiated Backchannel Authentication (CIBA Core 1.0), poll
// and ping mode, with rich authorization requests (RFC 9396).
//
//	endpoint                                       file            specification
//	POST /bc-authorize                             authorize.go    CIBA 7, 13
//	POST /token, /oauth/token                      token.go        CIBA 10, 11; RFC 6749 5
//	POST /introspect                               introspect.go   RFC 7662; RFC 9396 9.2
//	POST /revoke                                   revoke.go       RFC 7009
//	GET, POST /userinfo                            userinfo.go     OpenID Connect Core 5.3
//	POST /requests/status, /requests/cancel        status.go       ours
//	POST /register (off by default)                register.go     RFC 7591 3
//	GET, PUT /register/{client_id}                 register.go     RFC 7592 2
//	DELETE /register/{client_id}                   registerdelete.go  RFC 7592 2.3
//	GET /.well-known/openid-configuration          metadata.go     OpenID Connect Discovery 4
//	GET /.well-known/oauth-authorization-server    metadata.go     RFC 8414 3
//	GET /.well-known/jwks.json                     metadata.go     RFC 7517 5
//
//	step                                           file
//	one answer, one log line, limits               handler.go
//	forms and JSON bodies                          params.go
//	client_secret_basic, client_secret_post        clientauth.go
//	private_key_jwt                                assertion.go    RFC 7523 3
//	tls_client_auth, self_signed_tls_client_auth   certificate.go  RFC 8705 2
//	names in certificates                          dn.go           RFC 4514
//	which assertions have been used                replay.go
//	signed requests                                requestobject.go  CIBA 7.1.1
//	keys of clients, jwks_uri                      clientkeys.go   RFC 7517
//	what others have signed                        jws.go          RFC 7515, 7519
//	what a client is registered with               client.go       RFC 7591 2
//	what a client may say about itself             registermeta.go RFC 7591 2
//	who may register clients, and within what      initial.go      RFC 7591 3
//	whom a login_hint means                        hint.go         CIBA 7.1; RFC 9493
//	id_token_hint, login_hint_token                hinttoken.go    CIBA 7.1, 14
//	user_code                                      usercode.go     CIBA 7.1.2
//	hints that name nobody, for blind clients      decoy.go        CIBA 14
//	codes that people type                         entered.go
//	scope, resource, binding_message               asked.go        RFC 6749 3.3; RFC 8707; CIBA 7.1
//	how often an agent may fail, and for whom ask  limits.go       CIBA 14
//	when an agent may poll again                   pace.go         CIBA 11
//	polls that wait for the decision               hold.go         CIBA 10.1; RFC 7240
//	ping clients, client_notification_token        notify.go       CIBA 4, 7.1; RFC 6750 2.1
//	telling them that there is a result            ping.go         CIBA 10.2
//	what is to be told, and when again             errand.go
//	one call and what came of it                   pingcall.go     CIBA 10.2; RFC 9110 10.2.3
//	overdue pings, pings given up                  pingsweep.go
//	what comes next for a ping, and its codes      pingoutlook.go, pingwords.go
//	keeping clients apart                          lane.go
//	answers that got lost and are asked for again  idempotency.go
//	ID token, access token                         issuer.go       OpenID Connect Core 2; RFC 9068
//	what a token is bound to                       binding.go      RFC 9449 5; RFC 8705 3
//	DPoP proofs and nonces                         dpop.go         RFC 9449 4, 8
//	access tokens that are shown to us             presented.go    RFC 6750 2.1; RFC 9449 7
//	access tokens that come back, and are good     accesstoken.go  RFC 9068 4
//	tokens without a person (off by default)       clientgrant.go  RFC 6749 4.4; RFC 9068 2.2, 5
//	refresh tokens                                 refresh.go      RFC 6749 6; RFC 9700 4.14
//	narrowing at the token endpoint                narrow.go       RFC 9396 6; RFC 8707 2.2
//	rules of the FAPI profile                      profile.go      FAPI-CIBA 5.2
//	a resource that takes our tokens               resource.go     RFC 9068 4; RFC 6750
//	signing keys                                   keys.go         RFC 7517
//	the desk's errors in OAuth's words             errors.go       CIBA 11, 13; RFC 6749 5.2
//
// It refuses: a database, NATS, pages, channels, and deciding anything. What is not here (push) is neither advertised
// nor accepted. Comments cite the rows (REQ-nnn) of the requirement list that the tests are named after.
package ciba
