"""Codes and texts of providers' error responses, and the kinds of error they mean.

The rules come from the responses in `tests/data/error_responses.json`, which names their sources.
`failures.classify_status` applies them. This module is imported only after a request failed.
"""

from __future__ import annotations

import re

from .errors import ErrorKind


def normalize_code(code: str) -> str:
    """Return a code in lower case without separators: hosts spell the same code differently."""
    return re.sub(r"[^a-z0-9]", "", code.lower())


def _kinds(codes_by_kind: dict[ErrorKind, str]) -> dict[str, ErrorKind]:
    return {
        normalize_code(code): kind
        for kind, codes in codes_by_kind.items()
        for code in codes.split()
    }


# If a response has several codes, the first kind in this table decides: a gateway may say
# `rate_limited` when the host behind it said `insufficient_balance`.
KIND_BY_CODE = _kinds(
    {
        ErrorKind.CONTENT_FILTER: """
            content_filter content_filtered content_policy_violation ResponsibleAIPolicyViolation
            data_inspection_failed invalid_prompt moderation_blocked prompt_blocked
            SensitiveContentDetected InputTextSensitiveContentDetected
            OutputTextSensitiveContentDetected InputImageSensitiveContentDetected
            InputTextRiskDetection OutputTextRiskDetection sensitive_words_detected
            PROHIBITED_CONTENT censorship_blocked guardrail_intervened
            1301
            10013 10014 10019
            """,  # by number: Z.ai; iFlytek Spark
        ErrorKind.CONTEXT_OVERFLOW: """
            context_length_exceeded context_window_exceeded model_context_window_exceeded
            exceed_context_size_error request_too_large tokens_limit_reached prompt_too_long
            tokens_too_long characters_too_long
            1261
            10907
            """,  # Z.ai; iFlytek Spark
        ErrorKind.QUOTA: """
            insufficient_balance insufficient_balance_error insufficient_credit
            insufficient_credits insufficient_funds insufficient_user_quota
            INSUFFICIENT_G1_CREDITS_BALANCE not_enough_balance CreditsError out_of_credits
            payment_required Arrearage account_overdue AccountOverdueError PrepaidBillOverdue
            PostpaidBillOverdue billing_error billing_not_active BILLING_DISABLED
            billing_hard_limit_reached customer_verification_required
            exceeded_current_quota_error SetLimitExceeded PkgExhausted ResourcePackExhausted
            pre_consume_token_quota_failed budget_exceeded
            1113 1304 1308 1309 1310
            """,  # Z.ai
        ErrorKind.NOT_FOUND: """
            model_not_found ModelNotFoundError model_not_exist model_not_exists ModelNotOpen
            model_not_supported model_decommissioned DeploymentNotFound InvalidEndpointOrModel
            unknown_model
            1211
            20012
            """,  # Z.ai; SiliconFlow
        ErrorKind.AUTH: """
            invalid_api_key api_key_invalid incorrect_api_key_error wrong_api_key api_key_expired
            invalid_access_token invalid_authentication_error authentication_failed
            account_deactivated organization_restricted invalid_iam_token
            UnrecognizedClientException InvalidSignatureException ExpiredTokenException
            SignatureDoesNotMatch ExpiredToken InvalidClientTokenId
            MissingAuthenticationTokenException unsupported_country_region_territory
            """,
        ErrorKind.OVERLOADED: """
            overloaded_error engine_overloaded_error engine_overloaded ServerOverloaded
            queue_exceeded MODEL_CAPACITY_EXHAUSTED slow_down ServiceUnavailableException
            ModelNotReadyException resource_unavailable
            1305 1312
            3505
            3040
            """,  # Z.ai; Mistral; Cloudflare
        ErrorKind.RATE_LIMIT: """
            rate_limit_exceeded RateLimitReached rate_limit_reached_error limit_requests
            limit_burst_rate
            1302 1303
            11202 11203
            """,  # Z.ai; iFlytek Spark
        ErrorKind.BAD_REQUEST: """
            string_above_max_length array_above_max_length integer_above_max_value invalid_value
            invalid_type unsupported_parameter unsupported_value missing_required_parameter
            unknown_parameter invalid_json invalid_function_parameters
            """,  # of OpenAI, whose texts quote the request
    }
)

# Less specific than a text, so consulted only if no text matches.
KIND_BY_GENERIC_CODE = _kinds(
    {
        ErrorKind.QUOTA: """
            insufficient_quota quota_exceeded QUOTA_EXHAUSTED AccountQuotaExceeded AllocationQuota
            usage_limit_reached FreeUsageLimitError ServiceQuotaExceededException credit_limit
            4006
            11201
            """,  # Cloudflare; iFlytek Spark
        ErrorKind.RATE_LIMIT: """
            RESOURCE_EXHAUSTED Throttling throttling_error TooManyRequests ThrottlingException
            TooManyRequestsException request_limit_exceeded request_quota_exceeded
            token_quota_exceeded too_many_tokens_error
            """,
        ErrorKind.AUTH: """
            authentication_error UNAUTHENTICATED unauthorized permission_error PERMISSION_DENIED
            access_denied AccessDeniedException invalid_authentication
            """,
        ErrorKind.NOT_FOUND: "not_found_error ResourceNotFoundException",
        ErrorKind.OVERLOADED: "UNAVAILABLE",
        ErrorKind.TIMEOUT: "timeout_error DEADLINE_EXCEEDED ModelTimeoutException",
    }
)


def _any_of(*patterns: str) -> str:
    return "(?i)" + "|".join(patterns)


CONTENT_FILTER_TEXT = _any_of(
    r"content management policy",
    r"content[- ](filter|moderation|policy|violates|exists risk)",
    r"(blocked|rejected|flagged|filtered) .{0,30}(safety|content|policy|moderation|guardrail)",
    r"(input|prompt|request|output|content|it) (was|is|has been) (flagged|considered high risk)",
    r"response was blocked",
    r"(input|prompt|request|output|content|text)\b.{0,40}"
    r"\b(violat\w+|not allowed by) .{0,20}(polic|guideline|safety|terms|rules)",
    r"violates? usage guidelines",
    r"may contain .{0,40}(inappropriate|sensitive|severe violation|violence)",
    r"inappropriate content",
    r"sensitive (content|words?)|contains? sensitive",
    r"(usage|content|safety) policy violation",
    r"(input|output) new_sensitive",
    r"requires moderation",
    r"不安全或敏感|敏感(内容|信息|词)|内容审核|涉嫌违规",
)

OVERFLOW_TEXT = _any_of(
    r"context[_ ]length[_ ]exceeded",
    r"model_context_window_exceeded",
    r"exceed_context_size",
    r"request_too_large",
    r"(prompt|input) is too (long|large)",
    r"(prompt|token length|prompt tokens) too long",
    r"prompt exceeds max length",
    r"exceeds? the context window",
    r"maximum context length",
    r"maximum context limit",
    r"context window (is )?exceed",
    r"exceeds? .{0,20}context (window|limit)",
    r"input token count\b.*\bexceeds",
    r"input token count is \d+ but model only supports",
    r"input tokens exceed the configured limit",
    r"prompt tokens limit exceeded",
    r"prompt length exceed",
    r"maximum prompt length is",
    r"maximum input length",
    r"reduce the length of the messages",
    r"maximum allowed input length",
    r"is longer than the (model'?s )?context length",
    r"tokens?\b.{0,40} exceeds? the limit of \d",
    r"\b(input|prompt|context)\b(?!.{0,60}\b(image|file|audio|MB)).{0,60} exceed\w* .{0,20}"
    r"(limit|maximum|length)",
    r"context limit exceeded",
    r"exceeds the available context size",
    r"greater than the context length",
    r"exceeded model token limit",
    r"too large for model with \d+",
    r"configured context size is",
    r"range of input length should be",
    r"input length \d+ exceeds",
    r"`?inputs`? tokens \+ `?max_new_tokens`? must be",
    r"too many (input )?tokens",
    r"token limit exceeded",
    r"input length and `?max_tokens`? exceed context limit",
    r"request body too large for .{1,60} model",
    r"(输入|上下文|prompt).{0,10}(超长|超过.{0,10}长度)",
)

# An account that must pay first. Waiting does not help.
UNPAID_TEXT = _any_of(
    r"credit balance",
    r"\b(insufficient|inadequate|not enough|negative|zero|no) ([\w$]+ ){0,4}"
    r"(balance|credits?|funds)\b",
    r"balance ([\w$.]+ ){0,4}(insufficient|too low|not enough|negative|depleted|exhausted)",
    r"balance is \$?0\b",
    r"balance has been (used up|exhausted|depleted)",
    r"(out of|used all|doesn't have any|requires more|purchase more) ([\w]+ ){0,2}credits?\b",
    r"credits? (\w+ ){0,3}(depleted|exhausted|expired|used up|required)",
    r"included credits",
    r"credit limit (exceeded|reached)",
    r"(credit card|payment method|payment instrument) (on file|required)",
    r"(no|add a|missing|update your) payment method",
    r"payment required",
    r"spend(ing)? (limit|cap)",
    r"hard limit has been reached|billing hard limit",
    r"check your billing",
    r"billing to be enabled|billing (is |has been )?(disabled|not active|not enabled)",
    r"overdue|in arrears|account is in good standing|past invoices|unpaid invoice",
    r"over budget|exceeded ?budget|budget (limit |has been )*exceeded",
    r"enable billing|valid payment|inference prohibited",
    r"(inactive|no active|expired) subscription|subscription (has |is )?(expired|inactive)",
    r"free tier of the model has been exhausted|free allocated quota exceeded",
    r"resource pack .{0,30}exhausted|no resource package",
    r"余额不足|欠费|请充值|资源包.{0,10}(用尽|用完|耗尽|不足)|无可用资源包|额度已用[尽完]",
)

# For status 400 and 422, whose texts may quote such words from the request.
NAMED_KEY_TEXT = _any_of(
    r"\b(incorrect|invalid|wrong|expired|bad|unknown|no|missing) (x-)?(api|access)[- _]?key",
    r"\bapi[- _]?key ([\w']+ ){0,6}(not valid|invalid|incorrect|expired|disabled|revoked|blocked|"
    r"wrong|leaked|not found|missing|required)",
    r"(^|\n)((invalid|incorrect) (key|token)|authentication error)\W*($|\n)",
    r"could not validate credentials|\bapi token (is )?(invalid|expired)",
    r"check your api[- _]?key",
    r"unable to locate credentials|default credentials were not found",  # of AWS and Google
    r"^this (organization|account|workspace|project) (has been|is|was) "
    r"(disabled|deactivated|restricted|terminated|locked|blocked|banned)",
    r"carry the api secret key",  # MiniMax
    r"no connected db",  # LiteLLM's proxy without a database: the key is not its master key
    r"(country|region|location)\b.{0,30}\bnot supported",
    r"(api ?key|令牌|密钥).{0,12}(无效|错误|过期|不正确|已停用)",
    r"身份验证(失败|错误)|令牌(已过期|验证)",
)

WRONG_KEY_TEXT = "|".join(
    (
        NAMED_KEY_TEXT,
        r"\binvalid (authentication|access|bearer|user|auth|api)[ _-]?(token|credentials?)\b",
        r"\b(invalid|incorrect) (authentication|authorization)\b",
        r"(?<!unexpected )\b(token|credentials?) ((is|are|was|has|have been) )?"
        r"(included in the request is )?(\w+ )?(invalid|expired|revoked|incorrect|no longer valid)",
        r"\binvalid (credentials|(token|key)\W*$)",
        r"(organization|account|workspace|project|user) (\S+ )?(has been|is|was) "
        r"(disabled|deactivated|restricted|terminated|locked|blocked|banned)",
        r"authentication (failed|fails|error|required)",
        r"\bunauthorized\b",
    )
)

UNKNOWN_MODEL_TEXT = _any_of(
    r"\bmodel\b(?!.{0,80}\b(tools?|tool_\w+|function|url|file|image)\b)[^;]{0,80}"
    r"(does not exist|not exist|not found|is not available|decommissioned|"
    r"has been deprecated|no longer (available|supported))",
    r"is not a valid model|model identifier is invalid",
    r"(invalid|unknown) model( id| name)?\b(?! (response|output|parameter))",
    r"(requested|this) model is not supported",
    r"no endpoints found for",
    r"模型不存在",
)

OVERLOADED_TEXT = _any_of(
    r"overloaded",
    r"(over|at) capacity",
    r"capacity (exceeded|exhausted)",
    r"(no|out of|insufficient) ([\w]+ ){0,2}capacity",
    r"high (demand|traffic|load)",
    r"heavy load|under load",
    r"(server|service|system|model|engine) (is |are )?(\w+ )?busy",
    r"queue (is )?full",
    r"服务器?.{0,6}(繁忙|过载)|系统繁忙|访问量过大|模型.{0,6}繁忙",
)

# An allowance for hours or longer is used up. It is a rate limit if the provider says when to try
# again, as Gemini and DashScope do with the same words.
ALLOWANCE_TEXT = _any_of(
    r"(exceed\w*|reached|exhausted|out of|insufficient|no) ([\w'-]+ ){0,4}quota\b",
    r"quota ([\w'-]+ ){0,4}(exceed|exhaust|reached|used up|insufficient|not enough)",
    r"usage (limit|cap|quota)",
    r"\b(daily|weekly|monthly|hourly|\d+-hour|session) ([\w'-]+ ){0,3}"
    r"(limit|quota|allocation|cap|allowance)",
    r"\bper[- ](day|week|month)\b|/ ?(day|week|month)\b",
    r"request allowance|key limit exceeded|key has reached its limit",
    r"trial (has )?(expired|ended)",
    r"free usage exceeded|out of (extra )?usage|extra usage is required",
    r"(plan|package) has expired|plan (does )?not support",
    r"使用上限|调用上限|调用次数.{0,6}上限|配额.{0,6}(用尽|不足|超)|额度.{0,6}(用尽|不足|超)|日流控",
)

# Limits that pass within minutes, whatever else the text says.
PER_MINUTE_TEXT = _any_of(
    r"per[-_ ]?(second|minute|sec|min)\b|per(second|minute)",
    r"\b(rpm|tpm|rps|qps|qpm|tps|ipm)\b",
    r"concurren",
    r"queries per",
    r"error-code#(token-limit|rate-limit)",  # DashScope links the reason
    r"allocated quota exceeded, please increase",  # DashScope: tokens per minute
)

RATE_LIMIT_TEXT = _any_of(
    r"rate.?limit",
    r"too many requests",
    r"throttl",
    r"too many tokens",
    r"please (wait|slow down)",
    r"request(s)? (limit|frequency|reached max)",
    r"(频率|频繁|限流|并发|速率)",
)

# "Too many tokens, please wait" is a rate limit, not an overflow.
NOT_OVERFLOW_TEXT = (
    r"(?i)rate.?limit|too many (requests|tools|images|files)|throttl|please wait|per minute"
    r"|per day|\btpm\b|quota"
)

# Google's names of quotas, such as GenerateRequestsPerDayPerProjectPerModel-FreeTier.
LONG_QUOTA_NAME = r"(?i)per_?(day|week|month)|billing|spend|credit"
