"""The time of day in which models may be switched."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo


def opens_in_s(window: str, timezone: str | None, now_s: float) -> float:
    """Seconds until a window such as "02:00-05:00" is open; 0 while it is. One whose end is before its begin goes past midnight.

    timezone: an IANA name, the computer's own where None. now_s: Unix time.
    """
    now = datetime.fromtimestamp(now_s, ZoneInfo(timezone)) if timezone else datetime.fromtimestamp(now_s).astimezone()
    begin, end = (_at(now, text) for text in window.split("-"))
    is_open = begin <= now < end if begin <= end else now >= begin or now < end
    if is_open:
        return 0.0
    return (begin if begin > now else begin + timedelta(days=1)).timestamp() - now_s


def _at(day: datetime, text: str) -> datetime:
    hour, minute = text.split(":")
    return day.replace(hour=int(hour), minute=int(minute), second=0, microsecond=0)
