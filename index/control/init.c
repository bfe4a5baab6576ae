/* init.c -- what control.mdb of a new tenant and cairn.mdb begin with: nothing, explicitly. From then on a record of these
 * that is not there is damage. */
#include "index/control/records.h"
#include "index/control/sum.h"
#include "index/store/data.h"

static const char *const summed[] = {"policy", "inforce", "members"};
#define SUMMED (sizeof summed / sizeof *summed)

static cn_err put_all(MDB_txn *txn, MDB_dbi meta, const MDB_dbi dbi[SUMMED]) {
    const cn_sum none = {0};
    for (size_t i = 0; i < SUMMED; i++)
        CN_TRY(cn_sum_put(txn, dbi[i], &none));
    return cn_epoch_put(txn, meta, 0);
}

cn_err cn_control_init(cn_env *control) {
    MDB_dbi meta, dbi[SUMMED];
    MDB_txn *txn;
    for (size_t i = 0; i < SUMMED; i++)
        CN_TRY(cn_env_dbi(control, summed[i], true, &dbi[i]));
    CN_TRY(cn_env_dbi(control, "meta", true, &meta));
    CN_TRY(cn_txn_write(control, &txn));
    cn_err e = put_all(txn, meta, dbi);
    if (e == CN_OK)
        return cn_txn_commit(control, txn);
    cn_txn_abort(control, txn);
    return e;
}

cn_err cn_host_init(cn_env *host, MDB_txn *txn) {
    MDB_dbi keys;
    CN_TRY(cn_env_dbi(host, "keys", false, &keys));
    return cn_epoch_put(txn, keys, 0);
}
