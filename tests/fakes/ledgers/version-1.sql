-- A ledger as version 1 of its schema left it, dumped by `sqlite3.Connection.iterdump`. Never edited.
PRAGMA journal_mode = WAL;
BEGIN TRANSACTION;
CREATE TABLE effect (
    number    INTEGER PRIMARY KEY,  -- the order in which they were asked for
    key       TEXT NOT NULL UNIQUE,
    kind      TEXT NOT NULL,
    request   TEXT NOT NULL CHECK (request GLOB '{*}'),
    state     TEXT NOT NULL CHECK (state IN ('todo', 'done')),
    asked_seq INTEGER NOT NULL
) STRICT;
INSERT INTO "effect" VALUES(1,'p/one-1/agent/stop','stop_run','{"run_id":"p/one-1/agent"}','done',51);
INSERT INTO "effect" VALUES(2,'p/two-1/agent/stop','stop_run','{"run_id":"p/two-1/agent"}','todo',51);
CREATE TABLE event (
    seq     INTEGER PRIMARY KEY,
    at      INTEGER NOT NULL,  -- microseconds since 1970, UTC
    type    TEXT NOT NULL,
    plan    TEXT,
    task    TEXT,
    attempt TEXT,
    token   INTEGER,
    data    TEXT NOT NULL CHECK (data GLOB '{*}'),
    prev    BLOB NOT NULL CHECK (length(prev) = 32),
    hash    BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT;
INSERT INTO "event" VALUES(1,1767225600000000,'daemon_began',NULL,NULL,NULL,NULL,'{"pid":1,"boot_id":"b","version":"0","limits":{"doing":"PT30M","for_review":"PT4H","merging":"PT30M","blocked":"P1D"},"quiet":"PT10M"}',X'0000000000000000000000000000000000000000000000000000000000000000',X'EFBE06A0B3B7B95CAC39AA540B09B46695971C1677488C899839E9567BD91352');
INSERT INTO "event" VALUES(2,1767225600000000,'plan_confirmed','p',NULL,NULL,NULL,'{"plan":{"name":"p","target":"main","publish":"end","parallel":4,"checks":[{"name":"tests","run":["tests"],"timeout":"PT10M"}],"prepare":{"copy":[],"link":[],"run":[]},"keep":[],"protected":{"include":[],"exclude":[]},"resources":{},"agents":[{"name":"a","adapter":"demo","run":[],"stdin":"prompt","count":4,"capabilities":[],"max_complexity":5,"env":{},"pass_env":[]},{"name":"b","adapter":"demo","run":[],"stdin":"prompt","count":4,"capabilities":[],"max_complexity":5,"env":{},"pass_env":[]}],"tasks":[{"id":"one","title":"one","prompt":"do one","files":{"include":["src/one.py"],"exclude":[]},"reads":{"include":[],"exclude":[]},"uses":[],"context":[],"depends_on":[],"priority":50,"complexity":3,"estimate":"PT20M","needs":[],"agent":null,"checks":[],"timeout":"PT1H","retry":{"retries":3,"waits":["PT1M","PT5M","PT15M"]}},{"id":"two","title":"two","prompt":"do two","files":{"include":["src/two.py"],"exclude":[]},"reads":{"include":[],"exclude":[]},"uses":[],"context":[],"depends_on":["one"],"priority":50,"complexity":3,"estimate":"PT20M","needs":[],"agent":null,"checks":[],"timeout":"PT1H","retry":{"retries":3,"waits":["PT1M","PT5M","PT15M"]}}],"execution":{"commit_message":"feat({task}): {title}","grace":"PT10S","output_limit_bytes":67108864,"lease_ttl":"PT10M","pass_env":[]}},"digest":"d","number":1,"by":"me","sequential":false,"rivals":[],"rank":{"one":2400.0,"two":1200.0}}',X'EFBE06A0B3B7B95CAC39AA540B09B46695971C1677488C899839E9567BD91352',X'8EBB4D5658E22B2F662DEF9307B4A75B58A924D9F073B6430C39F68C703F0508');
INSERT INTO "event" VALUES(3,1767225600000000,'branch_made','p',NULL,NULL,NULL,'{"tip":"target-0","target":"target-0"}',X'8EBB4D5658E22B2F662DEF9307B4A75B58A924D9F073B6430C39F68C703F0508',X'0F2B55CA7F390D4155B7BC39D2FA4B4100AD2506DB33C2480B41761F041C991F');
INSERT INTO "event" VALUES(4,1767225600000000,'lease_granted','p','one','p/one-1',1,'{"expires_at":"2026-01-01T00:10:00Z"}',X'0F2B55CA7F390D4155B7BC39D2FA4B4100AD2506DB33C2480B41761F041C991F',X'4899C696EF86B2493E1D30D0E005729D0B245993735F1089B57AA4CE166AE139');
INSERT INTO "event" VALUES(5,1767225600000000,'attempt_started','p','one','p/one-1',1,'{"number":1,"agent":"a","start":null}',X'4899C696EF86B2493E1D30D0E005729D0B245993735F1089B57AA4CE166AE139',X'9D03F89F4D859455DD18E3677529430BF99B5B4B5F1105F7606199F6E5672A19');
INSERT INTO "event" VALUES(6,1767225600000000,'workspace_made','p','one','p/one-1',1,'{"workspace":{"kind":"worktree","path":"/w/p/one-1","git_dir":"/g","branch":"refs/heads/p/one-1","empty":[]},"base":"target-0"}',X'9D03F89F4D859455DD18E3677529430BF99B5B4B5F1105F7606199F6E5672A19',X'38F296472FAFC93D29CD6D2CF43746F101F05E1C0B765086B0CE2505183894A0');
INSERT INTO "event" VALUES(7,1767225600000000,'run_requested','p',NULL,NULL,NULL,'{"run_id":"p/one-1/agent","owner":"p/one-1","kind":"agent","name":"agent","try_number":1}',X'38F296472FAFC93D29CD6D2CF43746F101F05E1C0B765086B0CE2505183894A0',X'E5F400A49F9E8E31CCE58528D88C10C9F1117F436F297B8AAA189FD8A520A3C5');
INSERT INTO "event" VALUES(8,1767225600000000,'run_recorded','p',NULL,NULL,NULL,'{"run_id":"p/one-1/agent","supervisor":{"pid":4,"start_time":1,"boot_id":"b"}}',X'E5F400A49F9E8E31CCE58528D88C10C9F1117F436F297B8AAA189FD8A520A3C5',X'D66BCC6427E6CE9A621B84B633FC1E4C9B93F08D637004ED2820C49621ECDE07');
INSERT INTO "event" VALUES(9,1767225600000000,'run_launched','p',NULL,NULL,NULL,'{"run_id":"p/one-1/agent"}',X'D66BCC6427E6CE9A621B84B633FC1E4C9B93F08D637004ED2820C49621ECDE07',X'39C3845FB9C08167BB8125CA2FB1ADD44A1D482991EA2E6813B77356C827FDE1');
INSERT INTO "event" VALUES(10,1767225600000000,'run_finished','p',NULL,NULL,NULL,'{"run_id":"p/one-1/agent","exit":{"why":"exit","code":0,"dropped_bytes":0,"detail":""}}',X'39C3845FB9C08167BB8125CA2FB1ADD44A1D482991EA2E6813B77356C827FDE1',X'E143EC7371F1FCCA089CA1F15727672BB818D846C4E502BB0EE1E0A8F6F85D98');
INSERT INTO "event" VALUES(11,1767225600000000,'attempt_stopping','p','one','p/one-1',1,'{"stop_as":null,"cancelled":false,"exit":{"why":"exit","code":0,"dropped_bytes":0,"detail":""},"tail":""}',X'E143EC7371F1FCCA089CA1F15727672BB818D846C4E502BB0EE1E0A8F6F85D98',X'BF2CD55F29111DAA1086F754371DA0D471B75DE7EE67096227F8A89A241E7226');
INSERT INTO "event" VALUES(12,1767225600000000,'attempt_ended','p','one','p/one-1',1,'{"ending":"handed_off","failure":null,"detail":"","head":"head-p/one-1","salvage":[]}',X'BF2CD55F29111DAA1086F754371DA0D471B75DE7EE67096227F8A89A241E7226',X'3D873E6A87FB0EABF9852E16D4610FA325DC0A75DA31369F2732DD2DD2A77B8F');
INSERT INTO "event" VALUES(13,1767225600000000,'lease_ended','p','one','p/one-1',1,'{"cause":"handed_off"}',X'3D873E6A87FB0EABF9852E16D4610FA325DC0A75DA31369F2732DD2DD2A77B8F',X'3E91C38AB028CF7D37345CA274EA1E438523EE4762A817A7C1CA999ABF8EF9CD');
INSERT INTO "event" VALUES(14,1767225600000000,'handed_off','p','one','p/one-1',1,'{"hand_off":{"head":"head-p/one-1","changed":["src/one.py"],"summary":""}}',X'3E91C38AB028CF7D37345CA274EA1E438523EE4762A817A7C1CA999ABF8EF9CD',X'767FBAFAB80835951A796C2564BE7C806B41C2024EBE0F69E9A41CDDE3018823');
INSERT INTO "event" VALUES(15,1767225600000000,'task_queued','p','one',NULL,NULL,'{}',X'767FBAFAB80835951A796C2564BE7C806B41C2024EBE0F69E9A41CDDE3018823',X'F966C9E0DFB9E91C9954AA32E5B50D4C4CFF6B5FAAB518D7DDC2F45AD6F617D7');
INSERT INTO "event" VALUES(16,1767225600000000,'candidate_requested','p','one',NULL,1,'{"candidate_id":"p/~1","parent":"target-0","other":"head-p/one-1","undoes":null}',X'F966C9E0DFB9E91C9954AA32E5B50D4C4CFF6B5FAAB518D7DDC2F45AD6F617D7',X'AA309B85188C71AFDFAF49BE989CF61DC2B15EED9808F78D289816C1B6A82FFA');
INSERT INTO "event" VALUES(17,1767225600000000,'candidate_made','p','one',NULL,NULL,'{"candidate_id":"p/~1","commit":"commit-p/~1","tree":"tree-commit-p/~1","path":"/c"}',X'AA309B85188C71AFDFAF49BE989CF61DC2B15EED9808F78D289816C1B6A82FFA',X'14393E64D21356444775CBFBABEE7A1426AF5B1ED28D826D911772513EB182DA');
INSERT INTO "event" VALUES(18,1767225600000000,'run_requested','p',NULL,NULL,NULL,'{"run_id":"p/~1/check-tests","owner":"p/~1","kind":"check","name":"check-tests","try_number":1}',X'14393E64D21356444775CBFBABEE7A1426AF5B1ED28D826D911772513EB182DA',X'D08D34FD5C307F689A8DFECA90DE5CAA1FE1FC6790DFA085CA375641D56D5A12');
INSERT INTO "event" VALUES(19,1767225600000000,'run_recorded','p',NULL,NULL,NULL,'{"run_id":"p/~1/check-tests","supervisor":{"pid":9,"start_time":1,"boot_id":"b"}}',X'D08D34FD5C307F689A8DFECA90DE5CAA1FE1FC6790DFA085CA375641D56D5A12',X'B71A8B2E503249DE0C00A56762FF2F6695415088CB1646CCC02A829822EAB581');
INSERT INTO "event" VALUES(20,1767225600000000,'run_launched','p',NULL,NULL,NULL,'{"run_id":"p/~1/check-tests"}',X'B71A8B2E503249DE0C00A56762FF2F6695415088CB1646CCC02A829822EAB581',X'676DFB8D49112511ABD54EFE349C4F96A0EDE46CFA351D87A3A5C26E017E6980');
INSERT INTO "event" VALUES(21,1767225600000000,'run_finished','p',NULL,NULL,NULL,'{"run_id":"p/~1/check-tests","exit":{"why":"exit","code":0,"dropped_bytes":0,"detail":""}}',X'676DFB8D49112511ABD54EFE349C4F96A0EDE46CFA351D87A3A5C26E017E6980',X'8FDB0AC24DCD83649F7C5764F759287B5FF880609A8777E8F40F82AD86A750E0');
INSERT INTO "event" VALUES(22,1767225600000000,'check_passed','p','one',NULL,NULL,'{"candidate_id":"p/~1","check":"check-tests"}',X'8FDB0AC24DCD83649F7C5764F759287B5FF880609A8777E8F40F82AD86A750E0',X'AC9758F80700C9C7D8FD61FE2BC77DA0F5EC324C66CA45611BF6F6104C97CE75');
INSERT INTO "event" VALUES(23,1767225600000000,'gate_passed','p','one',NULL,NULL,'{"candidate_id":"p/~1","commit":"commit-p/~1","tree":"tree-commit-p/~1"}',X'AC9758F80700C9C7D8FD61FE2BC77DA0F5EC324C66CA45611BF6F6104C97CE75',X'07AA22CB5A0DC7050EFBEE4DA510AAE07C3BC14B1EA489F45981B6F0A2EA3B82');
INSERT INTO "event" VALUES(24,1767225600000000,'landed','p','one',NULL,NULL,'{"candidate_id":"p/~1","commit":"commit-p/~1"}',X'07AA22CB5A0DC7050EFBEE4DA510AAE07C3BC14B1EA489F45981B6F0A2EA3B82',X'535BA47F3257E5AE66702B81F84C5A011B349794FA3EBF6A197D26AF760D16E9');
INSERT INTO "event" VALUES(25,1767225600000000,'lease_granted','p','two','p/two-1',2,'{"expires_at":"2026-01-01T00:10:00Z"}',X'535BA47F3257E5AE66702B81F84C5A011B349794FA3EBF6A197D26AF760D16E9',X'31AFD87EEC398339168FC70209CDF669C9C36AE4A3BF1579583677695ADD2927');
INSERT INTO "event" VALUES(26,1767225600000000,'attempt_started','p','two','p/two-1',2,'{"number":1,"agent":"a","start":null}',X'31AFD87EEC398339168FC70209CDF669C9C36AE4A3BF1579583677695ADD2927',X'970A2BF4542523F5CFF93E35D1F13AB0181BF1462A4B59AB8F5356EBA5D0E53E');
INSERT INTO "event" VALUES(27,1767225600000000,'tree_removed','p',NULL,NULL,NULL,'{"owner":"p/one-1","salvage":[]}',X'970A2BF4542523F5CFF93E35D1F13AB0181BF1462A4B59AB8F5356EBA5D0E53E',X'AAE50EDFA3F9ED6EB42126A1D2B6B96D758BB5D2DC173DAA80070CDADC78972E');
INSERT INTO "event" VALUES(28,1767225600000000,'tree_removed','p',NULL,NULL,NULL,'{"owner":"p/~1","salvage":[]}',X'AAE50EDFA3F9ED6EB42126A1D2B6B96D758BB5D2DC173DAA80070CDADC78972E',X'031B28183483918E7BA1404DF25F115F7E0437D3926171AA14287B9815FF58E8');
INSERT INTO "event" VALUES(29,1767225600000000,'workspace_made','p','two','p/two-1',2,'{"workspace":{"kind":"worktree","path":"/w/p/two-1","git_dir":"/g","branch":"refs/heads/p/two-1","empty":[]},"base":"commit-p/~1"}',X'031B28183483918E7BA1404DF25F115F7E0437D3926171AA14287B9815FF58E8',X'0E68AD54D1B351496D42AA07E92FE5469C8336FF47D0066F9686DC53C6118D6B');
INSERT INTO "event" VALUES(30,1767225600000000,'run_requested','p',NULL,NULL,NULL,'{"run_id":"p/two-1/agent","owner":"p/two-1","kind":"agent","name":"agent","try_number":1}',X'0E68AD54D1B351496D42AA07E92FE5469C8336FF47D0066F9686DC53C6118D6B',X'886EE7721D1BFDF095655F22F44F3B9AD3175ABD154CB00F4DD97B9ECE1D42A9');
INSERT INTO "event" VALUES(31,1767225600000000,'run_recorded','p',NULL,NULL,NULL,'{"run_id":"p/two-1/agent","supervisor":{"pid":17,"start_time":1,"boot_id":"b"}}',X'886EE7721D1BFDF095655F22F44F3B9AD3175ABD154CB00F4DD97B9ECE1D42A9',X'C8B8DC40EB86292C9BEE888E9881B642892526A9CC5468DD0F3C214C294205DF');
INSERT INTO "event" VALUES(32,1767225600000000,'run_launched','p',NULL,NULL,NULL,'{"run_id":"p/two-1/agent"}',X'C8B8DC40EB86292C9BEE888E9881B642892526A9CC5468DD0F3C214C294205DF',X'63EDAB9915CADC2F4CCDA35F221255F64911C3F2685E846CD73167E0E8055C6C');
INSERT INTO "event" VALUES(33,1767225600000000,'run_finished','p',NULL,NULL,NULL,'{"run_id":"p/two-1/agent","exit":{"why":"exit","code":0,"dropped_bytes":0,"detail":""}}',X'63EDAB9915CADC2F4CCDA35F221255F64911C3F2685E846CD73167E0E8055C6C',X'1B849ABF84CDF7EC51262C6228D36979C3763B0E36216FC52E3C65E209E4C5F4');
INSERT INTO "event" VALUES(34,1767225600000000,'attempt_stopping','p','two','p/two-1',2,'{"stop_as":null,"cancelled":false,"exit":{"why":"exit","code":0,"dropped_bytes":0,"detail":""},"tail":""}',X'1B849ABF84CDF7EC51262C6228D36979C3763B0E36216FC52E3C65E209E4C5F4',X'5F1C4654E6E7571D8AA84DA4BB89C96632EF93C661B821240D5C751A2E8AB384');
INSERT INTO "event" VALUES(35,1767225600000000,'attempt_ended','p','two','p/two-1',2,'{"ending":"handed_off","failure":null,"detail":"","head":"head-p/two-1","salvage":[]}',X'5F1C4654E6E7571D8AA84DA4BB89C96632EF93C661B821240D5C751A2E8AB384',X'A9244063A7E446C5A755A462A17FB5B6C3F06902E3454A16627CD2733DC2FF3E');
INSERT INTO "event" VALUES(36,1767225600000000,'lease_ended','p','two','p/two-1',2,'{"cause":"handed_off"}',X'A9244063A7E446C5A755A462A17FB5B6C3F06902E3454A16627CD2733DC2FF3E',X'83A01FC09F3D6F952FDAAB65C525EF2735EA490B03A2E71AED1F6AEBA41630F7');
INSERT INTO "event" VALUES(37,1767225600000000,'handed_off','p','two','p/two-1',2,'{"hand_off":{"head":"head-p/two-1","changed":["src/two.py"],"summary":""}}',X'83A01FC09F3D6F952FDAAB65C525EF2735EA490B03A2E71AED1F6AEBA41630F7',X'A959AEDC9DD69452A683A4D92D0E6EA3ED062FECAF33FEE12121609F081FFD8A');
INSERT INTO "event" VALUES(38,1767225600000000,'task_queued','p','two',NULL,NULL,'{}',X'A959AEDC9DD69452A683A4D92D0E6EA3ED062FECAF33FEE12121609F081FFD8A',X'7D06AFF8C097B8E2B0DE53344C7A588440D30E3A4512CD02F1D989E1092AF5BA');
INSERT INTO "event" VALUES(39,1767225600000000,'candidate_requested','p','two',NULL,2,'{"candidate_id":"p/~2","parent":"commit-p/~1","other":"head-p/two-1","undoes":null}',X'7D06AFF8C097B8E2B0DE53344C7A588440D30E3A4512CD02F1D989E1092AF5BA',X'15C1A800EC35E9AA4DDE7B700DF544C3DC633CCEF8EC439AE93227A39E0E0AC3');
INSERT INTO "event" VALUES(40,1767225600000000,'candidate_made','p','two',NULL,NULL,'{"candidate_id":"p/~2","commit":"commit-p/~2","tree":"tree-commit-p/~2","path":"/c"}',X'15C1A800EC35E9AA4DDE7B700DF544C3DC633CCEF8EC439AE93227A39E0E0AC3',X'9C8DB9D7DDCC50261D75F632DD24CD63B5240AE13A8BEF22F5E3D7B1DDD464EC');
INSERT INTO "event" VALUES(41,1767225600000000,'run_requested','p',NULL,NULL,NULL,'{"run_id":"p/~2/check-tests","owner":"p/~2","kind":"check","name":"check-tests","try_number":1}',X'9C8DB9D7DDCC50261D75F632DD24CD63B5240AE13A8BEF22F5E3D7B1DDD464EC',X'EE3C86096357A6B49332F66C0F2830F0302F10573A504D2AB464DB86FF2E3F85');
INSERT INTO "event" VALUES(42,1767225600000000,'run_recorded','p',NULL,NULL,NULL,'{"run_id":"p/~2/check-tests","supervisor":{"pid":22,"start_time":1,"boot_id":"b"}}',X'EE3C86096357A6B49332F66C0F2830F0302F10573A504D2AB464DB86FF2E3F85',X'2CC9ED4F6FE24DA9D90FE87498A81A764F2D14322B76012B029F1CB6EE346069');
INSERT INTO "event" VALUES(43,1767225600000000,'run_launched','p',NULL,NULL,NULL,'{"run_id":"p/~2/check-tests"}',X'2CC9ED4F6FE24DA9D90FE87498A81A764F2D14322B76012B029F1CB6EE346069',X'6FC15C956C5140D9741F9BDB74D80F316C44036AE00EEBBBE446989BAE06B4F5');
INSERT INTO "event" VALUES(44,1767225600000000,'run_finished','p',NULL,NULL,NULL,'{"run_id":"p/~2/check-tests","exit":{"why":"exit","code":0,"dropped_bytes":0,"detail":""}}',X'6FC15C956C5140D9741F9BDB74D80F316C44036AE00EEBBBE446989BAE06B4F5',X'DADC21C78D0232EF871CE22B3BE9D448C89B04C41856BC41D0233CF533B7F4BA');
INSERT INTO "event" VALUES(45,1767225600000000,'check_passed','p','two',NULL,NULL,'{"candidate_id":"p/~2","check":"check-tests"}',X'DADC21C78D0232EF871CE22B3BE9D448C89B04C41856BC41D0233CF533B7F4BA',X'99204C378CD916DC614C778CD9315BCCBD676701238A950DD08CB00133ACEEFB');
INSERT INTO "event" VALUES(46,1767225600000000,'gate_passed','p','two',NULL,NULL,'{"candidate_id":"p/~2","commit":"commit-p/~2","tree":"tree-commit-p/~2"}',X'99204C378CD916DC614C778CD9315BCCBD676701238A950DD08CB00133ACEEFB',X'13898404DADB66B4BE08DF522010CE20DCB55EB57BB6AAE442235577049907FA');
INSERT INTO "event" VALUES(47,1767225600000000,'landed','p','two',NULL,NULL,'{"candidate_id":"p/~2","commit":"commit-p/~2"}',X'13898404DADB66B4BE08DF522010CE20DCB55EB57BB6AAE442235577049907FA',X'CA676A65916E14BA8C024265E882B9E146FC5C09A54073C922EADD08D8B5B82D');
INSERT INTO "event" VALUES(48,1767225600000000,'publish_began','p',NULL,NULL,NULL,'{"commit":"commit-p/~2","by":"plan","try_number":1}',X'CA676A65916E14BA8C024265E882B9E146FC5C09A54073C922EADD08D8B5B82D',X'9564B1520A0FA8FB960E6EA53E839C033DE99168E675613A555BCE653569C38F');
INSERT INTO "event" VALUES(49,1767225600000000,'tree_removed','p',NULL,NULL,NULL,'{"owner":"p/two-1","salvage":[]}',X'9564B1520A0FA8FB960E6EA53E839C033DE99168E675613A555BCE653569C38F',X'ADE6B1420930D17DA1B31CDC073FBBCE9E1484E24F7051088B297C00ED19D4B4');
INSERT INTO "event" VALUES(50,1767225600000000,'tree_removed','p',NULL,NULL,NULL,'{"owner":"p/~2","salvage":[]}',X'ADE6B1420930D17DA1B31CDC073FBBCE9E1484E24F7051088B297C00ED19D4B4',X'E5E29785BE579E6B63738E9D0E61618A5404E80EEE321CA5D9C8559D6F0EDA55');
INSERT INTO "event" VALUES(51,1767225600000000,'published','p',NULL,NULL,NULL,'{"commit":"commit-p/~2","final":true}',X'E5E29785BE579E6B63738E9D0E61618A5404E80EEE321CA5D9C8559D6F0EDA55',X'0E06E25871C47622EA43B537E04ECB605143156339AFE1A91BFDCD47490AF9D1');
CREATE TABLE item (
    number INTEGER PRIMARY KEY,
    key    TEXT NOT NULL UNIQUE,
    plan   TEXT NOT NULL,
    state  TEXT NOT NULL,
    data   TEXT NOT NULL CHECK (data GLOB '{*}')
) STRICT;
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;
INSERT INTO "meta" VALUES('id','c4f478175e99341fb2e3e738298f3f78');
CREATE TABLE plan (
    number INTEGER PRIMARY KEY,
    key    TEXT NOT NULL UNIQUE,
    plan   TEXT NOT NULL,
    state  TEXT NOT NULL,
    data   TEXT NOT NULL CHECK (data GLOB '{*}')
) STRICT;
INSERT INTO "plan" VALUES(1,'p','p','published','{"name":"p","number":1,"digest":"d","state":"published","target":"main","publish":"end","parallel":4,"confirmed_at":"2026-01-01T00:00:00Z","confirmed_by":"me","tip":"commit-p/~2","branch":"orchestrator/p","published":"commit-p/~2","current":true,"gating":null,"checks":["tests"],"unpublished":false,"prepared":[]}');
CREATE TABLE task (
    number INTEGER PRIMARY KEY,
    key    TEXT NOT NULL UNIQUE,
    plan   TEXT NOT NULL,
    state  TEXT NOT NULL,
    data   TEXT NOT NULL CHECK (data GLOB '{*}')
) STRICT;
INSERT INTO "task" VALUES(1,'p/one','p','landed','{"plan":"p","id":"one","title":"one","order":0,"state":"landed","lane":"done","since":"2026-01-01T00:00:00Z","agent":"a","attempts":1,"branch":"refs/orchestrator/p/one-1","worktree":null,"token":null,"waiting_for":null,"files":["src/one.py"],"depends_on":[],"landed_commit":"commit-p/~1","retry_at":null,"item":null,"reason":"","summary":"","changed":["src/one.py"],"usage":null,"failed":false,"history":[{"id":"p/one-1","number":1,"agent":"a","token":1,"state":"ended","ending":"handed_off","failure":null,"detail":"","started_at":"2026-01-01T00:00:00Z","launched_at":"2026-01-01T00:00:00Z","ended_at":"2026-01-01T00:00:00Z","worktree":null,"branch":"refs/orchestrator/p/one-1","run_dir":"attempts/p/one-1/agent","progress":"","flags":[],"salvage":[],"base":"target-0","head":"head-p/one-1"}],"tries":4,"lane_since":"2026-01-01T00:00:00Z","overdue_at":null,"undo":"","merges":null}');
INSERT INTO "task" VALUES(2,'p/two','p','landed','{"plan":"p","id":"two","title":"two","order":1,"state":"landed","lane":"done","since":"2026-01-01T00:00:00Z","agent":"a","attempts":1,"branch":"refs/orchestrator/p/two-1","worktree":null,"token":null,"waiting_for":null,"files":["src/two.py"],"depends_on":["one"],"landed_commit":"commit-p/~2","retry_at":null,"item":null,"reason":"","summary":"","changed":["src/two.py"],"usage":null,"failed":false,"history":[{"id":"p/two-1","number":1,"agent":"a","token":2,"state":"ended","ending":"handed_off","failure":null,"detail":"","started_at":"2026-01-01T00:00:00Z","launched_at":"2026-01-01T00:00:00Z","ended_at":"2026-01-01T00:00:00Z","worktree":null,"branch":"refs/orchestrator/p/two-1","run_dir":"attempts/p/two-1/agent","progress":"","flags":[],"salvage":[],"base":"commit-p/~1","head":"head-p/two-1"}],"tries":4,"lane_since":"2026-01-01T00:00:00Z","overdue_at":null,"undo":"","merges":null}');
CREATE INDEX event_by_plan ON event (plan) WHERE plan IS NOT NULL;
CREATE INDEX event_by_task ON event (task, plan) WHERE task IS NOT NULL;
CREATE TRIGGER event_stays BEFORE UPDATE ON event BEGIN
    SELECT raise(ABORT, 'events are never changed');
END;
CREATE TRIGGER event_remains BEFORE DELETE ON event BEGIN
    SELECT raise(ABORT, 'events are never deleted');
END;
CREATE INDEX effect_to_do ON effect (number) WHERE state = 'todo';
CREATE INDEX task_by_plan ON task (plan);
CREATE INDEX item_by_plan ON item (plan);
COMMIT;
PRAGMA application_id = 1869767528;
PRAGMA user_version = 1;
