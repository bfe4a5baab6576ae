/* Seeds of fuzz_ingest: one good input of each kind, so that what is changed in it is looked at deep inside. */
#include <string.h>

#include "tests/fuzz/replay.h"

#define SEED(text) {text, sizeof(text) - 1}
static const struct {
    const char *p;
    size_t n;
} seeds[] = {
    SEED("\000{\"id\":\"a\",\"text\":\"h\\u00e9 \\ud83d\\ude00\",\"labels\":[\"public\",\"group:x\"],\"deny\":[\"user:u\""
      "],\"meta\":{\"n\":-12.5e3,\"b\":true,\"l\":[\"x\",\"y\"]},\"modified\":\"2026-01-01T10:00:00Z\"}\n{\"_id\":7,\""
      "text\":\"t\",\"vector\":[0.1,-2e0,3]}\n{\"id\":\"d\",\"op\":\"delete\"}\n"),
    SEED("\001id,text,labels,year,meta\n1,\"a, \"\"b\"\"\nc\",\"public,group:x\",2020,\"{\"\"k\"\":1}\"\n2,x,,true,\n"),
    SEED("\001id\011text\011vector\n1\011a\011[1,2]\n"),
    SEED("\002\223NUMPY\001\000v\000{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }                         "
      "                                 \n\000\000\200\077\000\000\200\077"),
    SEED("\002\223NUMPY\001\000v\000{'descr': '>f2', 'fortran_order': False, 'shape': (2, 2), }                         "
      "                                 \n<\000<\000<\000<\000"),
    SEED("\003\002\000\000\000\000\000\200\077\000\000\200\077\002\000\000\000\000\000\200\077\000\000\200\077"),
    SEED("\004\001\000\000\000\003\000\000\000\000\000\200\077\000\000\200\077\000\000\200\077"),
    SEED("\005---\ntitle: x\nlabels: [public]\n---\n# t\n"),
    SEED("\006<title>T</title><main><h1>H</h1><p>a<b>b</b>&eacute;<table><tr><td>1<td>2</table><ul><li>x</ul><pre> y\n z"
      "</pre><blockquote>q</blockquote></main><script>s</script>"),
    SEED("\007---\na: b\n---\n# H\n\npara *em* `c` &amp; <b>x</b>\n\n- i\n  - j\n\n> q\n\n|a|b|\n|-|-|\n|1|2|\n\n```\nco"
      "de\n```\n"),
    SEED("\010one\ntwo\n\nthree \303\251 e\314\201 \341\204\200\341\205\241"),
    SEED("\011PK\003\004\024\000\000\000\000\000\000\000!\0005\210j%\257\000\000\000\257\000\000\000\021\000\000\000word"
      "/document.xml<w:d xmlns:w='x'><w:p><w:pPr><w:pStyle w:val='Heading2'/></w:pPr><w:r><w:t>H</w:t></w:r></w:p><w:"
      "tbl><w:tr><w:tc><w:p><w:r><w:t>c</w:t></w:r></w:p></w:tc></w:tr></w:tbl></w:d>PK\001\002\024\003\024\000\000\000"
      "\000\000\000\000!\0005\210j%\257\000\000\000\257\000\000\000\021\000\000\000\000\000\000\000\000\000\000\000\200"
      "\001\000\000\000\000word/document.xmlPK\005\006\000\000\000\000\001\000\001\000\077\000\000\000\336\000\000\000"
      "\000\000"),
    SEED("\nPK\003\004\024\000\000\000\000\000\000\000!\000~\250\336\371a\000\000\000a\000\000\000\013\000\000\000conten"
      "t.xml<o xmlns:t='t'><t:h t:outline-level='3'>H</t:h><t:list-item><t:p>i<t:s/>j</t:p></t:list-item></o>PK\001\002"
      "\024\003\024\000\000\000\000\000\000\000!\000~\250\336\371a\000\000\000a\000\000\000\013\000\000\000\000\000\000"
      "\000\000\000\000\000\200\001\000\000\000\000content.xmlPK\005\006\000\000\000\000\001\000\001\0009\000\000\000"
      "\212\000\000\000\000\000"),
    SEED("\013PK\003\004\024\000\000\000\000\000\000\000!\000\334p\240e$\000\000\000$\000\000\000\026\000\000\000META-IN"
      "F/container.xml<c><rootfile full-path='p.opf'/></c>PK\003\004\024\000\000\000\000\000\000\000!\000\260,\261>]\000"
      "\000\000]\000\000\000\005\000\000\000p.opf<p><title>T</title><item id='1' href='a%20b.html' media-type='html'/"
      "><itemref idref='1'/></p>PK\003\004\024\000\000\000\000\000\000\000!\000&\022S\320\004\000\000\000\004\000\000"
      "\000\010\000\000\000a b.html<p>xPK\001\002\024\003\024\000\000\000\000\000\000\000!\000\334p\240e$\000\000\000"
      "$\000\000\000\026\000\000\000\000\000\000\000\000\000\000\000\200\001\000\000\000\000META-INF/container.xmlPK\001"
      "\002\024\003\024\000\000\000\000\000\000\000!\000\260,\261>]\000\000\000]\000\000\000\005\000\000\000\000\000\000"
      "\000\000\000\000\000\200\001X\000\000\000p.opfPK\001\002\024\003\024\000\000\000\000\000\000\000!\000&\022S\320"
      "\004\000\000\000\004\000\000\000\010\000\000\000\000\000\000\000\000\000\000\000\200\001\330\000\000\000a b.ht"
      "mlPK\005\006\000\000\000\000\003\000\003\000\255\000\000\000\002\001\000\000\000\000"),
    SEED("\014<meta charset=latin1> Gr\374\337e \344\366"),
    SEED("\014\377\376w\000i\000d\000e\000 \000w\000o\000r\000d\000s\000"),
    SEED("\015---\ntitle: \"A: b\"\nlabels: [group:x, 'user:y']\ndeny:\n  - group:z\n# note\nyear: 2020 # when\ntags: [a"
      ", b]\nbody: |\n  x\n---\n"),
};

size_t replay_seeds(void) { return sizeof seeds / sizeof *seeds; }

size_t replay_seed(size_t i, uint8_t *bytes, size_t room) {
    size_t n = seeds[i].n < room ? seeds[i].n : room;
    memcpy(bytes, seeds[i].p, n);
    return n;
}
