/* make_model FOLDER: the small random model of the tests, as a folder that `cairn model add` takes. */
#include "tests/ingest/tiny_model.h"

int main(int argc, char **argv) {
    static tiny_model m;
    if (argc != 2)
        return 2;
    tiny_write(&m, argv[1], TINY_F32, "");
    tiny_done(&m);
    return 0;
}
