package webapp

import (
	"fmt"
	"strings"

	"assent/approvals"
)

// phrase is one text in both languages, so that none can be forgotten. Placeholders are numbered where their order
// differs. Korean speaks 해요체 and never glues a particle to a placeholder that may end in any letter.
type phrase struct{ en, ko string }

// texts are all words of the pages, beside those that a disclosure brings.
var texts = map[string]phrase{
	"brand":       {"Assent", "Assent"},
	"skip":        {"Skip to content", "본문으로 건너뛰기"},
	"language":    {"한국어", "English"},
	"signedIn":    {"Signed in as %s", "%s님으로 로그인했어요"},
	"ways":        {"Your account", "내 계정"},
	"signOut":     {"Sign out", "로그아웃"},
	"continue":    {"Continue", "계속하기"},
	"openInbox":   {"Open your inbox", "요청함 열기"},
	"checkAgain":  {"Check again", "다시 확인하기"},
	"showAll":     {"Show all", "모두 보기"},
	"otherDevice": {"another device", "다른 기기"},
	"offline": {"You are offline. Nothing was sent. We will not send it later by ourselves.",
		"오프라인이에요. 아무것도 보내지 않았어요. 나중에 자동으로 보내지도 않아요."},
	"sending":   {"Sending…", "보내고 있어요…"},
	"lost":      {"No connection. What you see may be out of date.", "연결이 끊겼어요. 지금 화면이 최신이 아닐 수 있어요."},
	"signedOut": {"You are signed out. Reload the page to sign in.", "로그아웃됐어요. 새로 고쳐서 다시 로그인해 주세요."},

	// A link's landing page.
	"landing.title": {"You have an approval request", "승인 요청이 있어요"},
	"landing.when":  {"%[1]s · decide by %[2]s", "%[1]s · %[2]s까지"},
	"landing.lead": {"Continue to read it. Nothing is decided by opening this page.",
		"계속하면 내용을 볼 수 있어요. 이 화면을 열어도 아무것도 결정되지 않아요."},
	"landing.foot": {"Did not expect this? You can ignore it or report it.", "예상하지 못한 요청인가요? 무시하거나 신고할 수 있어요."},

	// Sign-in.
	"signin.title": {"Sign in", "로그인"},
	"signin.lead": {"We send a one-time code to you. It is good for five minutes.",
		"일회용 인증번호를 보내 드려요. 5분 동안 쓸 수 있어요."},
	"signin.more": {"Approving this needs a sign-in with a code. Denying does not.",
		"승인하려면 인증번호로 로그인해 주세요. 거절은 그대로 할 수 있어요."},
	"signin.send":    {"Text me a code", "문자로 인증번호 받기"},
	"signin.passkey": {"Sign in with passkey", "패스키로 로그인"},
	"signin.unknown": {"This browser is not known yet", "아직 등록되지 않은 브라우저예요"},
	"signin.unknownBody": {"Sign in on a browser that you have used before, or open your invitation on this one.",
		"전에 쓰던 브라우저에서 로그인하거나, 이 브라우저에서 초대 링크를 열어 주세요."},
	"signin.noChannel": {"We cannot send you a code", "인증번호를 보낼 방법이 없어요"},
	"signin.askOperator": {"Ask your operator for a new invitation, and open it on this browser.",
		"운영자에게 새 초대를 요청해서 이 브라우저에서 열어 주세요."},

	"signin.with":  {"Continue with %s", "%s 계속하기"},
	"signin.again": {"To change how you sign in, please sign in once more.", "로그인 방법을 바꾸려면 다시 한번 로그인해 주세요."},

	// Accounts elsewhere.
	"upstream.down":         {"%s does not answer right now. You can try again in a moment, or sign in another way.", "%s: 지금 응답이 없어요. 잠시 뒤 다시 시도하거나 다른 방법으로 로그인해 주세요."},
	"upstream.cancelled":    {"The sign-in at %s was not finished. You can try again, or sign in another way.", "%s: 로그인을 끝내지 않았어요. 다시 시도하거나 다른 방법으로 로그인해 주세요."},
	"upstream.weak":         {"%s did not confirm the kind of sign-in that is needed here. Sign in another way, or ask your operator.", "%s: 여기에 필요한 로그인 방식을 확인하지 못했어요. 다른 방법으로 로그인하거나 운영자에게 문의해 주세요."},
	"upstream.over":         {"That sign-in at %s is too old, or began on another browser. Please start again.", "%s: 시간이 지났거나 다른 브라우저에서 시작한 로그인이에요. 처음부터 다시 해 주세요."},
	"upstream.notConnected": {"That account at %s is not connected to anybody here. Sign in another way, then connect it under Accounts.", "%s: 아직 연결되지 않은 계정이에요. 다른 방법으로 로그인한 뒤 계정 연결에서 연결해 주세요."},
	"upstream.taken":        {"That account at %s belongs to another person here. Nothing was connected.", "%s: 이미 다른 사람에게 연결된 계정이에요. 연결하지 않았어요."},
	"upstream.other":        {"You have connected another account at %s. Disconnect it first.", "%s: 이미 다른 계정을 연결했어요. 먼저 그 연결을 끊어 주세요."},
	"upstream.last":         {"Your account at %s is your only way in, so it stays.", "%s: 이 계정으로만 로그인할 수 있어서 연결을 끊을 수 없어요."},
	"upstream.refused":      {"We could not verify what %s sent. Nobody was signed in.", "%s: 보내온 내용을 확인하지 못했어요. 로그인하지 않았어요."},
	"back.title":            {"Almost there", "거의 다 됐어요"},
	"back.lead":             {"You have signed in at %s. Continue to come in.", "%s 로그인을 마쳤어요. 계속하면 들어올 수 있어요."},
	"back.connect":          {"Connect this account?", "이 계정을 연결할까요?"},
	"back.connectLead":      {"From then on, whoever signs in to your account at %s signs in as you.", "연결하면 %s 계정으로 로그인한 사람을 본인으로 알아봐요."},
	"back.cancel":           {"Do not connect", "연결하지 않기"},
	"accounts.title":        {"Accounts", "계정 연결"},
	"accounts.lead": {"Connect an account that you have elsewhere, and you can sign in with it. Approvals that take a passkey still take one.",
		"다른 곳의 계정을 연결하면 그 계정으로 로그인할 수 있어요. 패스키가 필요한 승인에는 계속 패스키를 써요."},
	"accounts.none":          {"Not connected.", "연결하지 않았어요."},
	"accounts.since":         {"Connected %s.", "%s에 연결했어요."},
	"accounts.connect":       {"Connect", "연결하기"},
	"accounts.connectOne":    {"Connect %s", "%s 연결하기"},
	"accounts.disconnect":    {"Disconnect", "연결 끊기"},
	"accounts.disconnectOne": {"Disconnect %s", "%s 연결 끊기"},
	"accounts.alone":         {"This is your only way in, so it stays.", "이 계정으로만 로그인할 수 있어서 연결을 끊을 수 없어요."},
	"accounts.signOut":       {"Signing out here does not sign you out there.", "여기서 로그아웃해도 연결한 계정에서는 로그아웃되지 않아요."},

	"code.title":     {"Enter your code", "인증번호를 입력해 주세요"},
	"code.sent":      {"We sent six digits to you. They are good for five minutes.", "숫자 6자리를 보냈어요. 5분 동안 쓸 수 있어요."},
	"code.told":      {"Type the six digits that your operator told you.", "운영자에게 들은 숫자 6자리를 입력해 주세요."},
	"code.label":     {"Six-digit code", "숫자 6자리"},
	"code.submit":    {"Sign in", "로그인"},
	"code.resend":    {"Send a new code", "새 인증번호 받기"},
	"code.wrong":     {"That code does not match. %d tries left.", "인증번호가 달라요. %d번 더 입력할 수 있어요."},
	"code.wrongLast": {"That code does not match. 1 try left.", "인증번호가 달라요. 1번 더 입력할 수 있어요."},
	"code.shape":     {"A code has six digits.", "인증번호는 숫자 6자리예요."},
	"code.over":      {"That code is too old. Ask for a new one.", "인증번호의 시간이 지났어요. 새로 받아 주세요."},
	"code.spent":     {"Too many tries. Ask for a new code.", "여러 번 틀렸어요. 새 인증번호를 받아 주세요."},
	"code.neverTell": {"Never tell this code to anybody. Our staff never ask for it.", "아무에게도 알려주지 마세요. 직원도 묻지 않아요."},

	"invited.title": {"You are invited", "초대를 받았어요"},
	"invited.lead": {"Accept on the phone or computer on which you want to decide. We will know this browser from then on.",
		"앞으로 결정할 때 쓸 휴대폰이나 컴퓨터에서 수락해 주세요. 그다음부터 이 브라우저를 알아봐요."},
	"invited.sends":  {"Next we send you a one-time code.", "다음 단계에서 일회용 인증번호를 보내 드려요."},
	"invited.tells":  {"Have the six digits ready that your operator told you.", "운영자에게 들은 숫자 6자리를 준비해 주세요."},
	"invited.accept": {"Accept the invitation", "초대 수락하기"},

	// Passkeys.
	"passkeys.title": {"Passkeys", "패스키"},
	"passkeys.lead": {"A passkey signs you in with your fingerprint, face or screen lock. Some approvals take one.",
		"패스키로 지문, 얼굴, 화면 잠금을 써서 로그인해요. 패스키가 있어야 승인할 수 있는 요청도 있어요."},
	"passkeys.added":     {"Added %s.", "%s에 추가했어요."},
	"passkeys.used":      {"Last used %s.", "마지막 사용: %s."},
	"passkeys.never":     {"Not used yet.", "아직 쓰지 않았어요."},
	"passkeys.held":      {"New: confirms approvals that take a passkey from %s.", "새 패스키예요. 패스키가 필요한 승인은 %s부터 할 수 있어요."},
	"passkeys.fresh":     {"Removing one asks you to sign in again.", "삭제하려면 다시 로그인해 주세요."},
	"passkeys.remove":    {"Remove", "삭제"},
	"passkeys.removeOne": {"Remove %s", "%s 삭제"},
	"passkeys.name":      {"Name of the new passkey", "새 패스키 이름"},
	"passkeys.add":       {"Add a passkey", "패스키 추가하기"},
	"passkeys.script": {"Adding a passkey needs a browser with script and passkeys.",
		"패스키를 추가하려면 스크립트와 패스키를 쓸 수 있는 브라우저가 필요해요."},
	"passkey.unnamed":    {"Passkey", "패스키"},
	"passkey.failed":     {"The passkey was not used. Nothing was sent.", "패스키를 쓰지 않았어요. 아무것도 보내지 않았어요."},
	"passkey.have":       {"This device has a passkey for you already.", "이 기기에는 이미 패스키가 있어요."},
	"passkey.refused":    {"That passkey was not accepted. Please try again.", "패스키를 확인하지 못했어요. 다시 시도해 주세요."},
	"passkey.unverified": {"Your device did not check that it is you. Use fingerprint, face or screen lock.", "기기에서 본인 확인을 하지 않았어요. 지문, 얼굴, 화면 잠금을 써 주세요."},
	"passkey.cloned":     {"This passkey may have been copied. Remove it, and tell your operator.", "복사됐을 수 있는 패스키예요. 삭제하고 운영자에게 알려 주세요."},
	"passkey.held":       {"Nothing was approved: a passkey, number or device of yours is too new for this. You can deny.", "승인하지 않았어요. 새로 추가한 패스키, 번호, 기기로는 아직 승인할 수 없어요. 거절은 할 수 있어요."},
	"passkey.limit":      {"You have as many passkeys as fit. Remove one first.", "패스키를 더 추가할 수 없어요. 먼저 하나를 삭제해 주세요."},
	"passkey.last":       {"This is your only way in, so it stays.", "이 패스키로만 로그인할 수 있어서 삭제할 수 없어요."},

	// Where somebody is signed in.
	"sessions.title": {"Where you are signed in", "로그인한 기기"},
	"sessions.lead": {"You decide here and on these devices. End what you do not know or no longer use.",
		"여기와 아래 기기에서 결정할 수 있어요. 모르거나 쓰지 않는 기기는 로그아웃해 주세요."},
	"sessions.here":       {"This browser", "지금 쓰는 브라우저"},
	"sessions.unknown":    {"Unknown device", "알 수 없는 기기"},
	"sessions.code":       {"Signed in %s with a one-time code.", "%s에 인증번호로 로그인했어요."},
	"sessions.upstream":   {"Signed in %s with an account elsewhere.", "%s에 연결한 계정으로 로그인했어요."},
	"sessions.passkey":    {"Signed in %s with a passkey.", "%s에 패스키로 로그인했어요."},
	"sessions.invitation": {"Signed in %s with an invitation.", "%s에 초대로 로그인했어요."},
	"sessions.link":       {"Signed in %s with a link.", "%s에 링크로 로그인했어요."},
	"sessions.used":       {"Last used %s.", "마지막 사용: %s."},
	"sessions.end":        {"Sign out there", "로그아웃시키기"},
	"sessions.endOne":     {"Sign out there: %[1]s, signed in %[2]s", "%[2]s에 로그인한 %[1]s 로그아웃시키기"},
	"sessions.others":     {"Sign out everywhere else", "다른 기기에서 모두 로그아웃하기"},
	"sessions.alone":      {"You are signed in nowhere else.", "다른 곳에는 로그인하지 않았어요."},
	"sessions.lost": {"Lost a phone or computer? Tell your operator too: that also ends its passkeys and notifications.",
		"휴대폰이나 컴퓨터를 잃어버렸다면 운영자에게도 알려 주세요. 그 기기의 패스키와 알림도 끊어 줘요."},

	// The request.
	"ask.title":          {"Approve this?", "승인할까요?"},
	"ask.from":           {"Approval request from %s", "%s의 승인 요청"},
	"ask.words":          {"Written by the agent, not checked by us", "에이전트가 쓴 내용이에요. 확인된 내용은 아니에요."},
	"ask.code":           {"Check that your agent shows %s", "에이전트 화면의 번호가 %s인지 확인해 주세요"},
	"ask.sameCode":       {"Another open request of this agent shows the same code. Read what each one asks.", "이 에이전트의 다른 요청도 같은 번호를 보여요. 무엇을 요청하는지 각각 읽어 주세요."},
	"ask.noCode":         {"You were not in a conversation with this agent.", "지금 대화 중인 에이전트의 요청이 아니에요."},
	"ask.codeShape":      {"Type the %d digits that your agent shows, nothing else.", "에이전트 화면에 보이는 숫자 %d자리만 입력해 주세요."},
	"ask.instead":        {"Or confirm with your passkey", "또는 패스키로 확인하기"},
	"ask.passkeyForCode": {"Your passkey takes the place of typing it.", "패스키로 확인하면 입력하지 않아도 돼요."},
	"ask.trust":          {"If you did not ask for this, deny it.", "요청한 적이 없다면 거절해 주세요."},
	"ask.left":           {"%s left", "%s 남았어요"},
	"ask.ends":           {"(ends %s)", "(%s까지)"},
	"ask.deny":           {"Deny", "거절"},
	"ask.note":           {"Add a note for the agent", "에이전트에게 메모 남기기"},
	"ask.noteHint":       {"Sent only if you deny. Up to 280 characters.", "거절할 때만 전해요. 280자까지 쓸 수 있어요."},
	"ask.report":         {"Report as suspicious", "의심스러운 요청 신고"},
	"ask.reportHint": {"This denies the request and withdraws whatever else %s has of you. It cannot ask you again until someone reviews it.",
		"이 요청을 거절하고 %s의 다른 요청도 모두 취소해요. 검토가 끝날 때까지 다시 요청할 수 없어요."},
	"ask.reportNow": {"Deny and report", "거절하고 신고하기"},
	"ask.stepUp":    {"To approve, you sign in with a code first.", "승인하려면 먼저 인증번호로 로그인해요."},
	"ask.passkey":   {"To approve, you confirm with your passkey. Denying takes none.", "승인하려면 패스키로 확인해 주세요. 거절은 그대로 할 수 있어요."},
	"ask.elsewhere": {"No passkey on this device? Choose another device when your browser asks.",
		"이 기기에 패스키가 없으면 브라우저 창에서 다른 기기를 골라 주세요."},
	"ask.held": {"You can approve this from %s: a passkey, number or device of yours is new. You can deny now.",
		"새로 추가한 패스키, 번호, 기기가 있어서 %s부터 승인할 수 있어요. 거절은 지금 할 수 있어요."},
	"ask.noPasskey": {"Approving this takes a passkey, and you have none yet. You can deny.", "이 요청을 승인하려면 패스키가 필요한데 아직 없어요. 거절은 할 수 있어요."},
	"ask.decide":    {"Your decision", "결정"},
	"units":         {" d| h| min| s", "일|시간|분|초"},
	"say.120":       {"2 minutes left", "2분 남았어요"},
	"say.30":        {"30 seconds left", "30초 남았어요"},
	"say.0":         {"Time ran out", "시간이 지났어요"},
	"alert.confirm": {"Nothing was approved: this needs your passkey, and script in the browser. You can deny.", "승인하지 않았어요. 패스키와 스크립트를 쓸 수 있는 브라우저가 필요해요. 거절은 할 수 있어요."},
	"alert.changed": {"This request changed. Please read it again.", "요청 내용이 바뀌었어요. 다시 확인해 주세요."},
	"alert.noteTooLong": {"The note is too long. Up to 280 characters, please.",
		"메모가 너무 길어요. 280자까지 써 주세요."},
	"evidence": {"Evidence", "증거 자료"},
	"evidence.lead": {"Your decision is bound to exactly these bytes. Their SHA-256, in base64url, is the digest.",
		"결정은 정확히 아래 바이트에 묶여요. 이 바이트의 SHA-256을 base64url로 쓴 값이 다이제스트예요."},
	"evidence.digest": {"Digest", "다이제스트"},
	"evidence.bytes":  {"Bytes", "바이트"},
	"evidence.proof":  {"Signed by passkey", "패스키 서명"},
	"evidence.proofLead": {"Anybody can check with this alone that a passkey signed the digest above.",
		"이 값만으로 패스키가 위 다이제스트에 서명했는지 누구나 확인할 수 있어요."},
	"evidence.id":    {"Request", "요청 번호"},
	"evidence.needs": {"Approving takes (acr)", "승인에 필요한 수준(acr)"},

	// Approving less.
	"narrow.open":  {"Change before approving", "바꿔서 승인하기"},
	"narrow.title": {"What do you want to change?", "무엇을 바꿀까요?"},
	"narrow.lead": {"You can take something away, not add anything. The agent is told what you approved.",
		"줄이거나 뺄 수만 있어요. 무엇을 승인했는지 에이전트에게 알려 줘요."},
	"narrow.part":        {"Part %[1]d of %[2]d", "%[2]d개 중 %[1]d번째"},
	"narrow.include":     {"Approve this part", "이 항목 승인하기"},
	"narrow.amount":      {"Amount (asked for: %s)", "금액 (원래 요청: %s)"},
	"narrow.amountWrong": {"Type an amount in digits, of at most %s.", "%s 이하의 금액을 숫자로 써 주세요."},
	"narrow.time":        {"Coming back without asking you", "다시 묻지 않고 쓰기"},
	"narrow.once":        {"Not at all: it asks each time", "허용하지 않고 매번 물어보기"},
	"narrow.day":         {"For 1 day", "1일 동안"},
	"narrow.week":        {"For 7 days", "7일 동안"},
	"narrow.asAsked":     {"As asked", "요청한 대로"},
	"narrow.until":       {"until %s", "%s까지"},
	"narrow.hint":        {"Nothing is approved yet. You read it once more first.", "아직 승인하지 않아요. 먼저 내용을 한 번 더 확인해 주세요."},
	"narrow.show":        {"See what is left", "바뀐 내용 보기"},
	"narrow.back":        {"Back to what was asked", "원래 요청으로 돌아가기"},
	"narrow.less":        {"You changed this. Only what you read here is approved.", "내용을 바꿨어요. 여기 보이는 것만 승인해요."},
	"narrow.nothing":     {"You have not changed anything yet.", "아직 바꾼 것이 없어요."},
	"narrow.none":        {"Keep at least one part. To approve nothing, deny.", "항목을 하나 이상 남겨 주세요. 승인하지 않으려면 거절해 주세요."},
	"narrow.keep":        {"Keep at least one of each list. To approve nothing, deny.", "목록마다 하나 이상 남겨 주세요. 승인하지 않으려면 거절해 주세요."},
	"narrow.wrong":       {"Please check the amount.", "금액을 확인해 주세요."},

	// Results.
	"result.approved": {"Approved at %[1]s. %[2]s may now do this once.",
		"%[1]s에 승인했어요. %[2]s의 요청을 한 번만 허용해요."},
	"result.standing": {"Approved at %[1]s. %[2]s may come back without asking until %[3]s.",
		"%[1]s에 승인했어요. %[2]s의 요청을 %[3]s까지 다시 묻지 않고 허용해요."},
	"result.stopped": {"Stopped. %s may not come back.", "중단했어요. %s의 요청을 더 허용하지 않아요."},
	"result.stood":   {"%[1]s could come back until %[2]s. That is over.", "%[1]s의 요청을 허용한 기간이 %[2]s에 끝났어요."},
	"result.reported": {"Denied and reported. %s cannot ask you again until someone reviews it.",
		"거절하고 신고했어요. 검토가 끝날 때까지 %s의 요청을 막아요."},
	"result.shutOut": {"Withdrawn, because you disconnected or reported %s.", "취소된 요청이에요. %s의 연결을 끊었거나 신고했어요."},
	"result.denied":  {"Denied. %s was told no.", "거절했어요. %s에 거절을 알렸어요."},
	"result.tries":   {"Too many tries. The request was denied to protect you.", "여러 번 틀려서 안전하게 거절했어요."},
	"result.expired": {"Time ran out. Nothing was approved. The agent can ask again.",
		"시간이 지났어요. 승인하지 않았어요. 다시 요청할 수 있어요."},
	"result.lapsed": {"Approved, but the agent did not collect it in time. It can ask again.",
		"승인했지만 에이전트가 제때 가져가지 않았어요. 다시 요청할 수 있어요."},
	"result.cancelled":       {"Withdrawn. Nothing for you to do.", "취소된 요청이에요. 할 일이 없어요."},
	"result.withdrawn":       {"You took it back. %s may not do this.", "승인을 취소했어요. %s의 요청을 허용하지 않아요."},
	"result.failed":          {"We could not reach you in time. Nothing was approved.", "제때 알려 드리지 못했어요. 승인하지 않았어요."},
	"result.alreadyApproved": {"Already approved on %[1]s at %[2]s.", "%[2]s에 %[1]s에서 이미 승인했어요."},
	"result.alreadyDenied":   {"Already denied on %[1]s at %[2]s.", "%[2]s에 %[1]s에서 이미 거절했어요."},
	"next.approved":          {"You can take it back until the agent collects it.", "에이전트가 가져가기 전까지 취소할 수 있어요."},
	"next.standing": {"You can take it back at any time. What the agent already holds ends within five minutes.",
		"언제든 취소할 수 있어요. 이미 가져간 권한은 5분 안에 끝나요."},
	"next.redeemed": {"The agent has collected it. Undo is not possible.", "에이전트가 이미 가져갔어요. 되돌릴 수는 없어요."},
	"next.denied": {"Nothing was approved. You do not have to do anything else.",
		"아무것도 승인하지 않았어요. 더 할 일은 없어요."},
	"next.reported": {"It was reported as suspicious, too.", "의심스러운 요청으로 신고도 했어요."},
	"next.late":     {"You can still tell the agent no.", "아직 거절을 알릴 수 있어요."},
	"next.ended":    {"You do not have to do anything.", "할 일이 없어요."},
	"result.note":   {"Your note", "남긴 메모"},
	"result.what":   {"What was asked", "요청 내용"},
	"withdraw":      {"Take it back", "승인 취소하기"},

	// The inbox.
	"inbox.title":     {"Your inbox", "요청함"},
	"inbox.tab":       {"(%d) Approval requests", "(%d) 승인 요청"},
	"inbox.waiting":   {"Waiting for you", "기다리는 요청"},
	"inbox.ended":     {"Recently ended", "최근에 끝난 요청"},
	"inbox.more":      {"and %s more", "그 밖에 %s건이 더 있어요"},
	"inbox.empty":     {"Nothing is waiting.", "기다리는 요청이 없어요."},
	"inbox.emptyBody": {"New requests appear here by themselves.", "새 요청이 오면 여기에 바로 보여요."},
	"state.approved":  {"Approved", "승인"},
	"state.redeemed":  {"Approved", "승인"},
	"state.denied":    {"Denied", "거절"},
	"state.expired":   {"Time ran out", "시간 지남"},
	"state.cancelled": {"Withdrawn", "취소"},
	"state.failed":    {"Not delivered", "전달 실패"},

	// Notifications in this browser.
	"push.title": {"Notifications", "알림"},
	"push.ask": {"Get the next one as a notification? It says only that something waits, never what.",
		"다음 요청은 알림으로 받을까요? 내용은 빼고 요청이 있다는 것만 알려 드려요."},
	"push.turnOn": {"Turn on notifications", "알림 켜기"},
	"push.testing": {"We have sent a test. Waiting for it to arrive…",
		"테스트 알림을 보냈어요. 도착하기를 기다리고 있어요…"},
	"push.works":   {"Notifications reach this browser.", "이 브라우저에서 알림을 받고 있어요."},
	"push.test":    {"Send a test", "테스트 보내기"},
	"push.turnOff": {"Turn off", "알림 끄기"},
	"push.off":     {"Notifications are off in this browser.", "이 브라우저의 알림을 껐어요."},
	"push.denied": {"This browser blocks our notifications. You can allow them in its settings.",
		"브라우저가 알림을 막고 있어요. 브라우저 설정에서 허용할 수 있어요."},
	"push.failed": {"The test did not arrive. Check the notification settings of this device.",
		"테스트 알림이 도착하지 않았어요. 이 기기의 알림 설정을 확인해 주세요."},
	"push.again": {"Try again", "다시 시도하기"},
	"push.home":  {"On this device, notifications need the app on your home screen.", "이 기기에서는 홈 화면에 앱이 있어야 알림을 받을 수 있어요."},
	"push.home1": {"Tap Share.", "공유 버튼을 눌러 주세요."},
	"push.home2": {"Choose Add to Home Screen.", "홈 화면에 추가를 선택해 주세요."},
	"push.home3": {"Open it from there and turn notifications on.", "홈 화면에서 열고 알림을 켜 주세요."},

	// Devices.
	"devices.title": {"Phones and tablets", "휴대폰과 태블릿"},
	"devices.none":  {"No device is told yet.", "알림을 받는 기기가 아직 없어요."},
	"devices.add":   {"Add a device", "기기 추가하기"},
	"devices.scan":  {"Scan this with the app on your device.", "기기의 앱으로 이 코드를 스캔해 주세요."},
	"devices.qr":    {"QR code that adds a device", "기기를 추가하는 QR 코드"},
	"devices.ends":  {"Good once, until %s. Show it to nobody.", "%s까지 한 번만 쓸 수 있어요. 아무에게도 보여 주지 마세요."},
	"devices.link":  {"Show it as text", "글자로 보기"},
	"devices.added": {"since %s", "%s부터"},
	"devices.hint": {"A device tells you that something waits, and shows no details before you sign in.",
		"기기는 요청이 왔다는 것만 알려요. 내용은 로그인해야 보여요."},
	"devices.remove":    {"Remove", "지우기"},
	"devices.removeOne": {"Remove %s", "%s 지우기"},
	"devices.android":   {"Android device", "안드로이드 기기"},
	"devices.ios":       {"iPhone or iPad", "아이폰 또는 아이패드"},

	// What can go wrong.
	"notSent.title":  {"We could not send the test", "테스트 알림을 보내지 못했어요"},
	"notSent.body":   {"Try again in a few minutes.", "몇 분 뒤에 다시 시도해 주세요."},
	"deadLink.title": {"This link no longer works", "더 이상 쓸 수 없는 링크예요"},
	"deadLink.body": {"It may have ended, or the request was decided already. Open your inbox.",
		"시간이 지났거나 이미 처리한 요청이에요. 요청함을 열어 주세요."},
	"deadInvitation.title": {"This invitation no longer works", "더 이상 쓸 수 없는 초대예요"},
	"deadInvitation.body": {"An invitation works once, for three days. Ask your operator for a new one.",
		"초대는 3일 동안 한 번만 쓸 수 있어요. 운영자에게 새 초대를 요청해 주세요."},
	"wrongPerson.title":  {"This request is for someone else", "다른 사람에게 온 요청이에요"},
	"wrongPerson.body":   {"Switch account?", "계정을 바꿀까요?"},
	"wrongPerson.switch": {"Switch account", "계정 바꾸기"},
	"crossSite.title":    {"This did not come from our page", "이 사이트에서 보낸 요청이 아니에요"},
	"crossSite.body": {"Nothing was sent. Open your inbox and try there.",
		"아무것도 보내지 않았어요. 요청함을 열어 다시 시도해 주세요."},
	"stale.title":   {"This page is out of date", "오래된 화면이에요"},
	"stale.body":    {"Nothing was sent. Open the request again.", "아무것도 보내지 않았어요. 요청을 다시 열어 주세요."},
	"badForm.title": {"We could not read that", "내용을 읽지 못했어요"},
	"badForm.body":  {"Nothing was sent. Open the page again and retry.", "아무것도 보내지 않았어요. 화면을 다시 열어 시도해 주세요."},
	"tooMany.title": {"Too many tries", "너무 여러 번 시도했어요"},
	"tooMany.body":  {"Wait a few minutes, then try again.", "몇 분 뒤에 다시 시도해 주세요."},
	"guessed.title": {"Too many tries", "너무 여러 번 시도했어요"},
	"guessed.body": {"We send no more codes for 24 hours. If this was not you, tell your operator.",
		"24시간 동안 인증번호를 보내지 않아요. 직접 시도하지 않았다면 운영자에게 알려 주세요."},
	"away.title":     {"You are offline", "오프라인이에요"},
	"away.body":      {"This page appears as soon as the connection is back.", "연결되면 화면이 바로 나타나요."},
	"noPage.title":   {"There is no such page", "없는 화면이에요"},
	"noPage.body":    {"Open your inbox.", "요청함을 열어 주세요."},
	"unknown.title":  {"We could not confirm", "결과를 확인하지 못했어요"},
	"unknown.body":   {"Checking…", "다시 확인하고 있어요."},
	"internal.title": {"Something went wrong on our side", "저희 쪽에 문제가 생겼어요"},
	"internal.body": {"Try again in a moment. Your inbox shows what was decided.",
		"잠시 뒤 다시 시도해 주세요. 결정한 내용은 요청함에서 볼 수 있어요."},
}

// lookUp returns a text in a language.
func lookUp(lang, key string) (string, error) {
	p, known := texts[key]
	switch {
	case !known:
		return "", fmt.Errorf("text %q is not in the catalogue", key)
	case lang == approvals.Korean:
		return p.ko, nil
	}
	return p.en, nil
}

// say is lookUp for keys that are written in this package; a test walks all of them.
func say(lang, key string, args ...any) string {
	text, err := lookUp(lang, key)
	if err != nil {
		return key
	}
	if len(args) == 0 {
		return text
	}
	return fmt.Sprintf(text, args...)
}

// around splits a text at its one placeholder, so that a page can put an element of its own there.
func around(lang, key string) (before, after string, err error) {
	text, err := lookUp(lang, key)
	if err != nil {
		return "", "", err
	}
	before, after, found := strings.Cut(text, "%s")
	if !found {
		return "", "", fmt.Errorf("text %q has no place to fill", key)
	}
	return before, after, nil
}
