#include "engine/base/log.h"
#include "server/service/inside.h"

const char *cn_tell_text(cn_service *s, const cn_caller *c, const char *text, char room[CN_ERROR_TEXT]) {
    return c->kind != CN_CALLER_OPERATOR && cn_data_hide(s->data, text, room, CN_ERROR_TEXT) ? room : text;
}

cn_err cn_tell(cn_service *s, const cn_caller *c, const char *method, cn_err err) {
    char room[CN_ERROR_TEXT];
    const char *whole = cn_error_detail(), *told = err == CN_OK ? whole : cn_tell_text(s, c, whole, room);
    if (told == whole)
        return err;
    cn_log(CN_LOG_WARN, "request.failed", "method=%s who=%s code=%s %s", method, c->who, cn_err_name(err), whole);
    return cn_fail(err, "%s", told);
}
