// Package webapp is what people see: the landing page of a link, sign-in, the request with its two buttons, the result
// and the inbox.
//
//	GET, POST /r/{handle}                     landing of a message's link              landing.go
//	GET, POST /i/{token}, /i/{token}/code     invitation: binds a browser              invite.go
//	GET, POST /signin, /signin/code           one-time code on a bound browser         signin.go
//	POST      /signin/passkey, /signin/passkey/begin                                    passkeyin.go
//	GET       /signin/{provider}, /signin/{provider}/connect                           upstreamin.go, accounts.go
//	GET, POST /signin/{provider}/back         what a provider answered                 upstreamin.go
//	GET, POST /accounts, POST /accounts/disconnect  accounts elsewhere                 accounts.go
//	POST      /signout                                                                 signin.go
//	GET       /, /inbox                       what waits, what ended                   inbox.go
//	GET       /agents, /agents/{agent}        who asks, what each may and has asked    agents.go
//	POST      /agents/{agent}/pause, /resume, /disconnect, /reconnect, /stop           agents.go
//	POST, GET /agents/{agent}/deny, /agents/{agent}/denied  several at once            denyall.go
//	GET       /history, /history/{id}         what ended, each as it was shown         history.go, stored.go
//	GET       /requests/{id}                  the request, or its result               approve.go, view.go
//	POST      /requests/{id}/approve, /deny, /withdraw, /opened                        approve.go
//	POST      /requests/{id}/report           deny, and shut the agent out              report.go
//	POST      /requests/{id}/confirm          challenge of one approval                confirm.go
//	GET, POST /devices, POST /devices/{id}/remove  where a person is told               enrol.go, qr.go
//	GET, POST /me/devices, DELETE /me/devices/{id}, POST /me/devices/{id}/confirm  JSON for apps  devices.go, api.go
//	GET, POST /passkeys, /passkeys/begin, /passkeys/remove                             passkeys.go
//	GET, POST /settings, POST /settings/move, /mute, /remove  how a person is told    settings.go
//	GET, POST /sessions                       where a person is signed in              sessions.go
//	GET       /live                           server-sent fragments                    live.go
//	POST      /push/subscribe, /check, /unsubscribe, /arrived                          push.go
//	GET       /sw.js                          notifications while no page is open      worker/sw.js, push.go
//	GET       /shell.js, /offline, /offline/sent, /manifest.webmanifest               worker/shell.js, offline.go
//	GET       /static/{name}.{hash}.{ext}, /favicon.ico, /robots.txt                   assets.go
//
// A GET or HEAD changes nothing: robots open links. A decision is a POST by a signed-in approver, bound by a digest to
// the exact text that was on the screen. Every page works without JavaScript; script adds the countdown, the live
// refresh and a short delay against tapping through a notification. No is never harder than yes: denying takes no
// stronger sign-in, no code and no script.
//
// The package owns the record kinds "session", "sessions", "sessions.cut", "browser", "signin", "invitation", "invited", "codes" and "enrolment".
// It refuses to know stores, channels and CIBA: a one-time code leaves as a due step, and the desk makes every decision.
package webapp
