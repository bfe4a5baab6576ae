#include "index/catalog/codes.h"

#include "engine/base/log.h"
#include "engine/base/os.h"
#include "index/catalog/inside.h"
#include "index/control/records.h"

cn_err cn_codes_make(cn_tenant *t, cn_str index, const cn_recipe *recipe, cn_seg *fresh) {
    CN_CATALOG_ARENA(a);
    cn_index_info ix;
    cn_space space;
    bool made;
    if (cn_seg_rows(fresh) == 0 || recipe->dim == 0)
        return CN_OK;
    CN_TRY(cn_index_get(t, index, &a, &ix));
    CN_TRY(cn_space_for(t, &ix, recipe, fresh, &a, &space));
    CN_TRY(cn_seg_build_flat(fresh, &space, cn_cpus()));
    if (ix.set.cells)
        return cn_seg_build_cells(fresh, &space, cn_cpus(), &made);
    cn_err err = ix.set.faiss.n ? cn_seg_build_faiss(fresh, &space, ix.set.faiss, cn_cpus(), &made) : CN_OK;
    if (err == CN_OK || err == CN_INVALID)
        return err;
    cn_log(CN_LOG_WARN, "faiss.not_built", "index=" CN_STR_FMT " %s", CN_STR_ARG(index), cn_error_detail()); /* questions are answered by the scan */
    return CN_OK;
}
