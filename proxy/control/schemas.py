"""What the API answers with, as JSON schemas: the contract of the answers, written by hand and checked by the tests."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from proxy.control.alerts.alert import KINDS, SEVERITIES, STATES
from proxy.control.filters import GROUP_NAMES
from proxy.ledger.ledger import Sums
from proxy.limits.limit import MODES, RESOURCES, WINDOWS
from proxy.records import FIELDS, OUTCOMES, USAGE_SOURCES

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
TEXT_OR_NULL: Schema = {"type": ["string", "null"]}
INTEGER: Schema = {"type": "integer"}
COUNT: Schema = {"type": "integer", "minimum": 0}
COUNT_OR_NULL: Schema = {"type": ["integer", "null"], "minimum": 0}
NUMBER: Schema = {"type": "number"}
NUMBER_OR_NULL: Schema = {"type": ["number", "null"]}
MONEY: Schema = {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?$", "description": "US dollars, decimal."}
MONEY_OR_NULL: Schema = {
    "type": ["string", "null"],
    "pattern": r"^-?[0-9]+(\.[0-9]+)?$",
    "description": "US dollars; null: unknown.",
}
INSTANT: Schema = {"type": "string", "format": "date-time"}
INSTANT_OR_NULL: Schema = {"type": ["string", "null"], "format": "date-time"}
FLAG: Schema = {"type": "boolean"}
FREE: Schema = {"type": "object"}
FREE_OR_NULL: Schema = {"type": ["object", "null"]}
AMOUNT: Schema = {"anyOf": [COUNT, MONEY, {"type": "null"}], "description": "Tokens, requests or slots; dollars for cost_usd."}


def _object(properties: Schema, optional: tuple[str, ...] = (), *, more: Schema | bool = False) -> Schema:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": more}


def _list(name: str) -> Schema:
    return {"type": "array", "items": _ref(name)}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


_HIDDEN_SUMS = ("duration_ms", "time_to_first_byte_ms", "first_byte_count")
_SUMS: Schema = {one.name: MONEY if one.name.endswith("_usd") else COUNT for one in fields(Sums) if one.name not in _HIDDEN_SUMS}
_GROUP: Schema = dict.fromkeys(GROUP_NAMES, TEXT_OR_NULL)
_RECORD_KINDS: Schema = {
    "id": TEXT,
    "started_at": INSTANT,
    "duration_ms": NUMBER,
    "time_to_first_byte_ms": NUMBER_OR_NULL,
    "overhead_ms": NUMBER_OR_NULL,
    "user": TEXT,
    "tags": FREE_OR_NULL,
    "usage_details": FREE_OR_NULL,
    "timings": FREE_OR_NULL,
    "provider": TEXT,
    "api": TEXT,
    "method": TEXT,
    "path": TEXT,
    "streamed": FLAG,
    "status": INTEGER,
    "outcome": {"type": "string", "enum": list(OUTCOMES)},
    "usage_source": {"type": "string", "enum": list(USAGE_SOURCES)},
    "retry_count": COUNT_OR_NULL,
}


def _record_field(name: str) -> Schema:
    if name in _RECORD_KINDS:
        found: Schema = _RECORD_KINDS[name]
        return found
    if name.endswith("_tokens"):
        return COUNT_OR_NULL
    return MONEY_OR_NULL if name.endswith("_usd") else TEXT_OR_NULL


_BOUNDS: Schema = {"from": INSTANT_OR_NULL, "to": INSTANT_OR_NULL, "timezone": TEXT}
_FORECAST_AMOUNT: Schema = {"anyOf": [COUNT, MONEY]}
_FORECAST = _object(dict.fromkeys(("so_far", "expected", "low", "high"), _FORECAST_AMOUNT))
_FORECASTS: Schema = {"basis_days": COUNT, "cost_usd": _FORECAST, "total_tokens": _FORECAST, "requests": _FORECAST}
_LIMIT: Schema = {
    "name": TEXT,
    "counter": TEXT,
    "resource": {"type": "string", "enum": list(RESOURCES)},
    "window": {"enum": [*WINDOWS, None]},
    "mode": {"type": "string", "enum": list(MODES)},
    "origin": TEXT,
    "amount": AMOUNT,
    "used": AMOUNT,
    "reserved": AMOUNT,
    "remaining": AMOUNT,
    "fraction": NUMBER_OR_NULL,
    "resets_at": INSTANT_OR_NULL,
}
_KEY: Schema = {
    "key_id": TEXT_OR_NULL,
    "user": TEXT,
    "team": TEXT_OR_NULL,
    "tier": TEXT_OR_NULL,
    "name": TEXT_OR_NULL,
    "state": {"type": "string", "enum": ["active", "expired", "revoked"]},
    "origin": {"type": "string", "enum": ["api", "limits.yaml"]},
    "created_at": INSTANT_OR_NULL,
    "created_by": TEXT_OR_NULL,
    "expires_at": INSTANT_OR_NULL,
    "revoked_at": INSTANT_OR_NULL,
    "settings": FREE,
}
_KEY_OPTIONAL = ("created_at", "created_by", "expires_at", "revoked_at")
_ALERT: Schema = {
    "id": TEXT,
    "at": INSTANT,
    "kind": {"type": "string", "enum": list(KINDS)},
    "severity": {"type": "string", "enum": list(SEVERITIES)},
    "state": {"type": "string", "enum": list(STATES)},
    "title": TEXT,
    "text": TEXT,
    "user": TEXT_OR_NULL,
    "team": TEXT_OR_NULL,
    "facts": FREE,
    "ends_at": INSTANT_OR_NULL,
    "changed_by": TEXT,
    "changed_at": INSTANT,
}
_ADMIN_KEY: Schema = {
    "key_id": TEXT,
    "name": TEXT,
    "role": {"type": "string", "enum": ["admin", "auditor"]},
    "state": {"type": "string", "enum": ["active", "expired", "revoked"]},
    "origin": {"type": "string", "enum": ["api", "environment", "first start"]},
    "created_at": INSTANT_OR_NULL,
    "created_by": TEXT_OR_NULL,
    "expires_at": INSTANT_OR_NULL,
    "revoked_at": INSTANT_OR_NULL,
}
_REFUSED: Schema = {
    "refused": COUNT,
    "refused_tokens": COUNT,
    "refused_cost_usd": MONEY,
    "first_at": INSTANT_OR_NULL,
    "last_at": INSTANT_OR_NULL,
}
_ROLE: Schema = {"type": "string", "enum": ["admin", "auditor", "user"]}
_SESSION_LINE: Schema = {
    "id": TEXT,
    "name": TEXT,
    "role": _ROLE,
    "user": TEXT_OR_NULL,
    "way": {"type": "string", "enum": ["password", "oidc"]},
    "began_at": INSTANT,
    "ends_at": INSTANT,
    "address": TEXT_OR_NULL,
}
_OVERRIDE = _object({"limits": FREE, "until": INSTANT_OR_NULL, "reason": TEXT_OR_NULL, "by": TEXT, "at": INSTANT})
_ROW: Schema = {**_GROUP, **_SUMS, "averages": _or_null(_ref("Averages")), "share": _or_null(_ref("Share"))}
_PREVIOUS = _or_null(_object({"from": INSTANT, "to": INSTANT, "totals": _ref("Totals"), "growth": _ref("Share")}))
_POINT: Schema = {"at": INSTANT, **_GROUP, **_SUMS, "averages": _ref("Averages")}
_PERFORMANCE: Schema = {
    **dict.fromkeys(("requests", "ok", "failed", "denied", "client_aborted", "sample"), COUNT),
    **dict.fromkeys(("success_rate", "output_tokens_per_second", "duration_ms", "time_to_first_byte_ms"), NUMBER_OR_NULL),
    **{f"{time}_p{share}_ms": NUMBER_OR_NULL for time in ("duration", "time_to_first_byte") for share in (50, 95, 99)},
}
_SESSION: Schema = {
    "session": TEXT_OR_NULL,
    "requests": COUNT,
    "total_tokens": COUNT,
    "cost_usd": MONEY_OR_NULL,
    "first_at": INSTANT,
    "last_at": INSTANT,
}

SCHEMAS: Schema = {
    "Error": _object({"error": _object({"code": TEXT, "message": TEXT, "docs": TEXT})}),
    "Totals": _object(_SUMS),
    "Averages": _object(
        {
            "success_rate": NUMBER_OR_NULL,
            "cache_share": NUMBER_OR_NULL,
            "output_per_input": NUMBER_OR_NULL,
            "duration_ms": NUMBER_OR_NULL,
            "time_to_first_byte_ms": NUMBER_OR_NULL,
            "input_tokens": NUMBER_OR_NULL,
            "output_tokens": NUMBER_OR_NULL,
            "total_tokens": NUMBER_OR_NULL,
            "cost_usd": MONEY_OR_NULL,
        }
    ),
    "Share": _object({"requests": NUMBER_OR_NULL, "total_tokens": NUMBER_OR_NULL, "cost_usd": NUMBER_OR_NULL}),
    "Record": _object({name: _record_field(name) for name in FIELDS}),
    "RecordPage": _object({"records": _list("Record"), "next_cursor": TEXT_OR_NULL}),
    "Group": _object(_ROW, GROUP_NAMES),
    "Summary": _object(
        {
            **_BOUNDS,
            "group_by": {"type": "array", "items": TEXT},
            "totals": _ref("Totals"),
            "averages": _ref("Averages"),
            "groups": _list("Group"),
            "previous": _PREVIOUS,
        },
        ("groups", "previous"),
    ),
    "Point": _object(_POINT, GROUP_NAMES),
    "Timeseries": _object({**_BOUNDS, "interval": TEXT, "group_by": {"type": "array", "items": TEXT}, "points": _list("Point")}),
    "Performance": _object(
        {
            **_BOUNDS,
            "group_by": {"type": "array", "items": TEXT},
            "sample": COUNT,
            "rows": {"type": "array", "items": _object({**_GROUP, **_PERFORMANCE}, GROUP_NAMES)},
        }
    ),
    "UsageSessions": _object({**_BOUNDS, "sessions": _list("Group")}),
    "UsageSession": _object(
        {
            "session": TEXT,
            "first_at": INSTANT_OR_NULL,
            "last_at": INSTANT_OR_NULL,
            "totals": _ref("Totals"),
            "averages": _ref("Averages"),
            "users": _list("Group"),
            "models": _list("Group"),
            "operations": _list("Group"),
            "calls": _list("Record"),
            "next_cursor": TEXT_OR_NULL,
        }
    ),
    "Projection": _object(
        {
            "from": INSTANT,
            "to": INSTANT,
            "timezone": TEXT,
            "method": TEXT,
            "days_left": NUMBER,
            **_FORECASTS,
            "groups": {"type": "array", "items": _object({**_GROUP, **_FORECASTS}, GROUP_NAMES)},
        },
        ("groups",),
    ),
    "Anomalies": _object(
        {
            **_BOUNDS,
            "group_by": {"type": "array", "items": TEXT},
            "rules": {"type": "array", "items": _object({"resource": TEXT, "factor": NUMBER, "floor": {"anyOf": [NUMBER, MONEY]}})},
            "anomalies": {
                "type": "array",
                "items": _object(
                    {
                        **_GROUP,
                        "day": {"type": "string", "format": "date"},
                        "resource": TEXT,
                        "amount": {"anyOf": [NUMBER, MONEY]},
                        "average": {"anyOf": [NUMBER, MONEY]},
                        "factor": NUMBER,
                    },
                    GROUP_NAMES,
                ),
            },
        }
    ),
    "Tracked": _object(
        {
            "accepted": COUNT,
            "duplicates": COUNT,
            "counted_in_limits": FLAG,
            "records": {
                "type": "array",
                "items": _object({"id": TEXT, "is_new": FLAG, "cost_usd": MONEY_OR_NULL, "price_source": TEXT_OR_NULL}),
            },
        }
    ),
    "Users": _object(
        {
            **_BOUNDS,
            "totals": _ref("Totals"),
            "users": {"type": "array", "items": _object({**_ROW, "team": TEXT_OR_NULL, "tier": TEXT_OR_NULL}, GROUP_NAMES)},
        }
    ),
    "Limit": _object(_LIMIT),
    "Override": _OVERRIDE,
    "User": _object(
        {
            **_BOUNDS,
            "user": TEXT,
            "team": TEXT_OR_NULL,
            "tier": TEXT_OR_NULL,
            "totals": _ref("Totals"),
            "averages": _ref("Averages"),
            "per_day": _list("Point"),
            "per_month": _list("Point"),
            "models": _list("Group"),
            "sessions": {"type": "array", "items": _object(_SESSION, more=True)},
            "limits": _list("Limit"),
            "allowed_models": {"type": ["array", "null"], "items": TEXT},
            "override": _or_null(_ref("Override")),
        }
    ),
    "UserLimits": _object({"user": TEXT, "limits": _list("Limit"), "override": _or_null(_ref("Override"))}),
    "Limits": _object({"at_least": NUMBER, "limits": {"type": "array", "items": _object({"user": TEXT_OR_NULL, **_LIMIT})}}),
    "Erased": _object({"user": TEXT, "mode": TEXT, "alias": TEXT_OR_NULL, "records": COUNT, "keys_revoked": COUNT}),
    "Key": _object(_KEY, _KEY_OPTIONAL),
    "Keys": _object({"keys": _list("Key")}),
    "NewKey": _object({"key": TEXT, **_KEY, "replaces": _ref("Key")}, (*_KEY_OPTIONAL, "replaces")),
    "Switch": _object(
        {
            "stops": {
                "type": "array",
                "items": _object(
                    {"scope": TEXT, "value": TEXT, "reason": TEXT, "cut_streams": FLAG, "by": TEXT, "at": INSTANT}, ("by", "at")
                ),
            }
        }
    ),
    "Alert": _object(_ALERT, ("team", "ends_at", "changed_by", "changed_at")),
    "AlertPage": _object({"alerts": _list("Alert"), "next_cursor": TEXT_OR_NULL}),
    "Destinations": _object({name: {"type": "array", "items": FREE} for name in ("destinations", "configured")}),
    "TrialSent": _object({"delivered": FLAG, "delivery": TEXT, "error": TEXT_OR_NULL}),
    "Delivery": _object(
        {
            "id": TEXT,
            "at": INSTANT,
            "destination": TEXT,
            "channel": TEXT,
            "state": {"type": "string", "enum": ["pending", "sent", "dead"]},
            "attempts": COUNT,
            "error": TEXT_OR_NULL,
            "due_at": INSTANT_OR_NULL,
            "alerts": _list("Alert"),
        }
    ),
    "DeliveryPage": _object({"deliveries": _list("Delivery"), "next_cursor": TEXT_OR_NULL}),
    "AuditPage": _object(
        {
            "audit": {
                "type": "array",
                "items": _object({"id": TEXT, "at": INSTANT, "by": TEXT, "action": TEXT, "subject": TEXT}, more=True),
            },
            "next_cursor": TEXT_OR_NULL,
        }
    ),
    "Prices": _object(
        {"source": TEXT, "unknown_model": TEXT, "prices": {"type": "array", "items": FREE}, "next_offset": COUNT_OR_NULL}
    ),
    "Repriced": _object(
        {
            "examined": COUNT,
            "changed": COUNT,
            "still_unknown": COUNT,
            "unknown_models": {"type": "array", "items": TEXT},
            "before_usd": MONEY,
            "after_usd": MONEY,
            "dry_run": FLAG,
        }
    ),
    "Recommendations": _object(
        {
            **_BOUNDS,
            "note": TEXT,
            "models": {
                "type": "array",
                "items": _object(
                    {
                        "provider": TEXT,
                        "model": TEXT,
                        "ability_class": TEXT_OR_NULL,
                        "cost_usd": MONEY,
                        "other_provider": TEXT,
                        "other_model": TEXT,
                        "other_cost_usd": MONEY,
                        "saving_usd": MONEY,
                        "saving_share": NUMBER,
                    }
                ),
            },
            "cache": {
                "type": "array",
                "items": _object(
                    {
                        "provider": TEXT_OR_NULL,
                        "model": TEXT_OR_NULL,
                        "input_tokens": COUNT,
                        "cache_read_tokens": COUNT,
                        "cache_write_tokens": COUNT,
                        "cache_share": NUMBER,
                        "is_low": FLAG,
                        "assumed_share": NUMBER,
                        "saving_usd": MONEY_OR_NULL,
                    }
                ),
            },
            "paid_failures": {
                "type": "array",
                "items": _object(
                    {
                        "provider": TEXT_OR_NULL,
                        "model": TEXT_OR_NULL,
                        "outcome": TEXT,
                        "requests": COUNT,
                        "total_tokens": COUNT,
                        "cost_usd": MONEY,
                    }
                ),
            },
            "under_tier": {
                "type": "array",
                "items": _object(
                    {
                        "user": TEXT,
                        "tier": TEXT,
                        "limit": TEXT,
                        "amount": {"type": ["integer", "string"]},
                        "highest": {"type": ["integer", "string"]},
                        "share": NUMBER,
                    }
                ),
            },
            "waste": {
                "type": "array",
                "items": _object(
                    {
                        "provider": TEXT_OR_NULL,
                        "model": TEXT_OR_NULL,
                        "requests": COUNT,
                        "denied": COUNT,
                        "failed": COUNT,
                        "client_aborted": COUNT,
                        "share": NUMBER,
                    }
                ),
            },
        }
    ),
    "AdminKey": _object(_ADMIN_KEY),
    "AdminKeys": _object({"keys": _list("AdminKey")}),
    "NewAdminKey": _object({"key": TEXT, **_ADMIN_KEY, "replaces": FREE}, ("replaces",)),
    "Login": _object({"name": TEXT, "role": _ROLE, "user": TEXT_OR_NULL, "changed_at": INSTANT, "changed_by": TEXT}),
    "Logins": _object({"logins": _list("Login")}),
    "SessionLine": _object(_SESSION_LINE),
    "Sessions": _object({"sessions": _list("SessionLine")}),
    "Session": _object(
        {
            "role": _ROLE,
            "name": TEXT,
            "user": TEXT_OR_NULL,
            "team": TEXT_OR_NULL,
            "tier": TEXT_OR_NULL,
            "key_id": TEXT_OR_NULL,
            "kind": {"type": "string", "enum": ["admin", "virtual", "own", "session"]},
            "timezone": TEXT,
            "version": TEXT,
            "csrf_token": {**TEXT_OR_NULL, "description": "Of a session: what changes must carry in `x-csrf-token`."},
            "ends_at": INSTANT_OR_NULL,
        }
    ),
    "Config": _object({"version": TEXT, "documents": FREE, "mistakes": {"type": "array", "items": TEXT}}),
    "LoggedOut": _object({"logged_out": FLAG}),
    "SessionOptions": _object({"password": FLAG, "key": FLAG, "oidc": _or_null(_object({"name": TEXT, "url": TEXT}))}),
    "Simulation": _object(
        {
            "from": INSTANT,
            "to": INSTANT,
            "examined": COUNT,
            "calls": COUNT,
            **_REFUSED,
            "refused_share": NUMBER,
            "refused_then": COUNT,
            "refused_then_passes_now": COUNT,
            "users_refused": COUNT,
            "users": {"type": "array", "items": _object({"user": TEXT, "calls": COUNT, **_REFUSED, "limits": FREE})},
            "limits": {"type": "array", "items": _object({"limit": TEXT, **_REFUSED, "users_refused": COUNT, "users": FREE})},
            "examples": {
                "type": "array",
                "items": _object(
                    {
                        "at": INSTANT,
                        "id": TEXT,
                        "user": TEXT,
                        "model": TEXT_OR_NULL,
                        "limit": TEXT,
                        "amount": AMOUNT,
                        "used": AMOUNT,
                        "wanted": AMOUNT,
                    }
                ),
            },
            "notes": {"type": "array", "items": TEXT},
        }
    ),
    "Reconciliation": _object(
        {
            "from": INSTANT,
            "to": INSTANT,
            "timezone": TEXT,
            "provider": TEXT_OR_NULL,
            "format": TEXT,
            "tolerance": NUMBER,
            "is_within": FLAG,
            "beyond": COUNT,
            "totals": _object({"ours": FREE, "theirs": FREE, "causes": FREE}),
            "rows": {
                "type": "array",
                "items": _object(
                    {
                        "day": {"type": "string", "format": "date"},
                        "model": TEXT_OR_NULL,
                        "ours": FREE,
                        "theirs": FREE,
                        "difference": FREE,
                        "causes": {"type": "array", "items": TEXT},
                        "is_beyond": FLAG,
                    }
                ),
            },
        }
    ),
    "PriceDrift": _object(
        {
            **_BOUNDS,
            "tolerance": NUMBER,
            "drifting": COUNT,
            "models": {
                "type": "array",
                "items": _object(
                    {
                        "provider": TEXT,
                        "model": TEXT_OR_NULL,
                        "requests": COUNT,
                        "unpriced": COUNT,
                        "cost_usd": MONEY,
                        "reported_cost_usd": MONEY,
                        "difference_usd": MONEY,
                        "difference_share": NUMBER_OR_NULL,
                        "is_drifting": FLAG,
                        "worst": _or_null(_object({"id": TEXT, "difference_usd": MONEY})),
                    }
                ),
            },
        }
    ),
    "Stats": _object(
        {
            **_BOUNDS,
            "interval": TEXT,
            "totals": _ref("Totals"),
            "averages": _ref("Averages"),
            "previous": _PREVIOUS,
            "points": _list("Point"),
            "by": {"type": "object", "additionalProperties": _list("Group")},
            "limits": {"type": "array", "items": _object({"user": TEXT_OR_NULL, **_LIMIT})},
            "alerts": _list("Alert"),
            "recent": _list("Record"),
            "health": FREE_OR_NULL,
        }
    ),
}
