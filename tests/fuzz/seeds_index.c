/* Inputs that make sense, for fuzz_index to begin with. */
#include <string.h>

#include "tests/fuzz/replay.h"

#define SEED(text) {text, sizeof(text) - 1}
static const struct {
    const char *p;
    size_t n;
} seeds[] = {
    SEED("\000lang = en and year >= 2020 and not draft = true and tag in (a, \"b c\") and exists owner"),
    SEED("\000(a=1 or b!=\"x\\\"y\") and c<-1.5e3 and d>=2024-01-01"),
    SEED("\001\x81\xa3""and\x92\x82\xa5""field\xa4lang\xa2""eq\xa2""en\x81\xa3not\x82\xa5""field\xa1n\xa2in\x92\x01\x02"),
    SEED("\001\x82\xa5""field\xa4tags\xa6""exists\xc3"),
    SEED("\002\000\020\100\000\001\000\040\031\002\001"),
    SEED("\003\000\020\100\000\001\000\040\104\002\001\000\060\130\001\377"),
    SEED("\003\000\100\100\002\001"),
    SEED("\004\000\040\120\000\001\000\060\110\002\001"),
    SEED("\005\000\000\220\002\001"),
    SEED("\005\000\040\100\003\000"),
    SEED("\006\x83\xa2id\x01\xa6""active\x01\xa4hold\xc2"),
    SEED("\007\x83\xa6number\x01\xa4root\xc4\x04""abcd\xa5marks\x00"),
    SEED("\010\x87\xa6source\xa1s\xa2id\xa1""a\xa7granted\x90\xa6""denied\x91\xa6public\xa6hidden\xc2\xa6""erased\xc3\xa4rows\x90"),
    SEED("\011public,group:hr,user:ana"),
    SEED("\011[a-c]*/**/x?.htmlabc/d/xy.html"),
    SEED("\011cairn_aaaaaaaa_bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"),
    SEED("\012# who is where\nuser:ana group:hr,group:staff\ngroup:hr\tgroup:all\n"),
    SEED("\013\000\000\000\000\001\000\000\000"),
    SEED("\014the \"first\" thi* \"second third\" first"),
    SEED("\014\xe2\x80\x9cone two\xe2\x80\x9d \xe6\x9d\xb1\xe4\xba\xac* x\" (aa*)"),
    SEED("\015\072\060\000\000\002\000\000\000\000\000\002\000\001\000\000\000\030\000\000\000\036\000\000\000\001\000\005\000\011\000\377\377"),
    SEED("\015\073\060\000\000\001\003\000\006\000\002\000\001\000\003\000\010\000\002\000"),
    SEED("\015\073\060\003\000\005\000\000\001\000\001\000\000\000\002\000\001\000\003\000\000\000\045\000\000\000\053\000\000\000\055\000\000\000\063\000\000\000\001\000\012\000\001\000\007\000\001\000\000\000\001\000\010\000"),
};

size_t replay_seeds(void) { return sizeof seeds / sizeof *seeds; }

size_t replay_seed(size_t i, uint8_t *bytes, size_t room) {
    size_t n = seeds[i].n < room ? seeds[i].n : room;
    memcpy(bytes, seeds[i].p, n);
    return n;
}
