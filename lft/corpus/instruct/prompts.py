"""What a model is asked for: the paper's three templates for models that complete, messages for those that chat.

The completion templates are the paper's own, word for word (arXiv 2304.08460; research note §2), with versions in four
more languages; the messages for instruction-tuned models are ours. Other languages are asked for in English.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from lft.ask.request import Form, Message

Asked = Literal["instruction", "chatbot", "search-engine"]
HERE: Final = "<corpus_example>"

COMPLETION: Final[Mapping[str, Mapping[Asked, str]]] = {
    "en": {
        "instruction": f"Instruction: X\n\nOutput: {HERE}\n\n"
        "What kind of instruction could this be the answer to?\n\nX:",
        "chatbot": "You are a chatbot. A user sent you an informal message and your reply is as follows.\n\n"
        f"Message: X\n\nReply: {HERE}\n\nWhat is the informal message X?\n\nX:",
        "search-engine": "You are a search engine. A person queried something in detail and the most relevant document "
        f"about the query is as follows.\n\nQuery: X\n\nDocument: {HERE}\n\nWhat is the detailed query X?\n\nX:",
    },
    "de": {
        "instruction": f"Anweisung: X\n\nAusgabe: {HERE}\n\nAuf welche Anweisung könnte dies die Antwort sein?\n\nX:",
        "chatbot": "Du bist ein Chatbot. Ein Nutzer hat dir eine formlose Nachricht geschickt, und deine "
        "Antwort lautet "
        f"wie folgt.\n\nNachricht: X\n\nAntwort: {HERE}\n\nWie lautet die formlose Nachricht X?\n\nX:",
        "search-engine": "Du bist eine Suchmaschine. Jemand hat ausführlich nach etwas gesucht, und das "
        "Dokument, das am "
        f"besten zur Suchanfrage passt, lautet wie folgt.\n\nSuchanfrage: X\n\nDokument: {HERE}\n\n"
        "Wie lautet die ausführliche Suchanfrage X?\n\nX:",
    },
    "es": {
        "instruction": f"Instrucción: X\n\nSalida: {HERE}\n\n¿A qué instrucción podría responder este texto?\n\nX:",
        "chatbot": "Eres un chatbot. Un usuario te ha enviado un mensaje informal y tu respuesta es la siguiente.\n\n"
        f"Mensaje: X\n\nRespuesta: {HERE}\n\n¿Cuál es el mensaje informal X?\n\nX:",
        "search-engine": "Eres un buscador. Una persona ha buscado algo con detalle y el documento más "
        "relevante para la "
        f"consulta es el siguiente.\n\nConsulta: X\n\nDocumento: {HERE}\n\n¿Cuál es la consulta detallada X?\n\nX:",
    },
    "fr": {
        "instruction": f"Instruction : X\n\nRéponse : {HERE}\n\nÀ quelle instruction ce texte pourrait-il "
        "répondre ?\n\nX :",
        "chatbot": "Tu es un agent conversationnel. Un utilisateur t'a envoyé un message informel et ta réponse est la "
        f"suivante.\n\nMessage : X\n\nRéponse : {HERE}\n\nQuel est le message informel X ?\n\nX :",
        "search-engine": "Tu es un moteur de recherche. Une personne a fait une recherche détaillée et le "
        "document le plus "
        f"pertinent est le suivant.\n\nRequête : X\n\nDocument : {HERE}\n\nQuelle est la requête détaillée X ?\n\nX :",
    },
    "ru": {
        "instruction": f"Инструкция: X\n\nОтвет: {HERE}\n\nНа какую инструкцию этот текст мог бы быть ответом?\n\nX:",
        "chatbot": "Ты чат-бот. Пользователь прислал тебе неформальное сообщение, и твой ответ таков.\n\n"
        f"Сообщение: X\n\nОтвет: {HERE}\n\nКаково неформальное сообщение X?\n\nX:",
        "search-engine": "Ты поисковая система. Человек ввёл подробный запрос, и самый подходящий документ по этому "
        f"запросу таков.\n\nЗапрос: X\n\nДокумент: {HERE}\n\nКаков подробный запрос X?\n\nX:",
    },
}

CHAT: Final[Mapping[str, Mapping[Asked, str]]] = {
    "en": {
        "instruction": f"A person wrote this text:\n\n<text>\n{HERE}\n</text>\n\nWrite the instruction that it "
        "answers: "
        "what somebody would ask for in order to be given this very text. Name the subject, and do not copy sentences "
        "of the text. Reply with the instruction alone, in one or two sentences, without quotation marks.",
        "chatbot": "You are a chatbot. A user sent you an informal message, and this was your reply:\n\n"
        f"<text>\n{HERE}\n</text>\n\nWrite the user's message, in the way people write to a chatbot. Do not copy "
        "sentences of the reply. Answer with the message alone, without quotation marks.",
        "search-engine": "Somebody typed a detailed query into a search engine, and this text was the most relevant "
        f"document:\n\n<text>\n{HERE}\n</text>\n\nWrite the query. Do not copy sentences of the text. Answer with the "
        "query alone, on one line, without quotation marks.",
    },
    "de": {
        "instruction": f"Diesen Text hat ein Mensch geschrieben:\n\n<text>\n{HERE}\n</text>\n\nSchreibe die "
        "Anweisung, auf "
        "die er die Antwort ist: worum würde jemand bitten, um genau diesen Text zu bekommen? Nenne das Thema und "
        "übernimm keine Sätze aus dem Text. Antworte nur mit der Anweisung, in ein oder zwei Sätzen, ohne "
        "Anführungszeichen.",
        "chatbot": "Du bist ein Chatbot. Jemand hat dir eine formlose Nachricht geschickt, und das war deine "
        "Antwort:\n\n"
        f"<text>\n{HERE}\n</text>\n\nSchreibe die Nachricht so, wie man einem Chatbot schreibt. Übernimm keine "
        "Sätze aus "
        "der Antwort. Antworte nur mit der Nachricht, ohne Anführungszeichen.",
        "search-engine": "Jemand hat eine ausführliche Suchanfrage in eine Suchmaschine eingegeben, und dieser "
        "Text war "
        f"der beste Treffer:\n\n<text>\n{HERE}\n</text>\n\nSchreibe die Suchanfrage. Übernimm keine Sätze aus "
        "dem Text. "
        "Antworte nur mit der Suchanfrage, in einer Zeile, ohne Anführungszeichen.",
    },
    "es": {
        "instruction": f"Una persona escribió este texto:\n\n<text>\n{HERE}\n</text>\n\nEscribe la instrucción "
        "a la que "
        "responde: qué pediría alguien para recibir exactamente este texto. Nombra el tema y no copies frases "
        "del texto. "
        "Responde solo con la instrucción, en una o dos frases, sin comillas.",
        "chatbot": "Eres un chatbot. Un usuario te envió un mensaje informal y esta fue tu respuesta:\n\n"
        f"<text>\n{HERE}\n</text>\n\nEscribe el mensaje del usuario, tal como se le escribe a un chatbot. No copies "
        "frases de la respuesta. Responde solo con el mensaje, sin comillas.",
        "search-engine": "Alguien escribió una consulta detallada en un buscador y este texto fue el documento más "
        f"relevante:\n\n<text>\n{HERE}\n</text>\n\nEscribe la consulta. No copies frases del texto. Responde "
        "solo con la "
        "consulta, en una línea, sin comillas.",
    },
    "fr": {
        "instruction": f"Quelqu'un a écrit ce texte :\n\n<text>\n{HERE}\n</text>\n\nÉcris l'instruction à laquelle il "
        "répond : que demanderait-on pour obtenir exactement ce texte ? Nomme le sujet et ne recopie pas de phrases du "
        "texte. Réponds uniquement par l'instruction, en une ou deux phrases, sans guillemets.",
        "chatbot": "Tu es un agent conversationnel. Un utilisateur t'a envoyé un message informel, et voici ta "
        "réponse :"
        f"\n\n<text>\n{HERE}\n</text>\n\nÉcris le message de l'utilisateur, comme on écrit à un agent conversationnel. "
        "Ne recopie pas de phrases de la réponse. Réponds uniquement par le message, sans guillemets.",
        "search-engine": "Quelqu'un a saisi une requête détaillée dans un moteur de recherche, et ce texte était le "
        f"document le plus pertinent :\n\n<text>\n{HERE}\n</text>\n\nÉcris la requête. Ne recopie pas de phrases du "
        "texte. Réponds uniquement par la requête, sur une ligne, sans guillemets.",
    },
    "ru": {
        "instruction": f"Этот текст написал человек:\n\n<text>\n{HERE}\n</text>\n\nНапиши инструкцию, на которую он "
        "отвечает: о чём попросили бы, чтобы получить именно этот текст? Назови тему и не копируй предложения "
        "из текста. "
        "В ответе дай только инструкцию, одно или два предложения, без кавычек.",
        "chatbot": "Ты чат-бот. Пользователь прислал тебе неформальное сообщение, и вот что ты ответил:\n\n"
        f"<text>\n{HERE}\n</text>\n\nНапиши сообщение пользователя так, как обычно пишут чат-боту. Не копируй "
        "предложения "
        "из ответа. В ответе дай только сообщение, без кавычек.",
        "search-engine": "Человек ввёл подробный запрос в поисковую систему, и этот текст оказался самым подходящим "
        f"документом:\n\n<text>\n{HERE}\n</text>\n\nНапиши этот запрос. Не копируй предложения из текста. В ответе дай "
        "только запрос, одной строкой, без кавычек.",
    },
}
_CALLED: Final[Mapping[Asked, str]] = {
    "instruction": "instruction", "chatbot": "message", "search-engine": "query",
}  # fmt: skip


def language_name(code: str) -> str:
    """A language's English name (``pl``: Polish); the code where it has none here."""
    from babel import Locale, UnknownLocaleError

    try:
        return Locale.parse(code).get_display_name("en") or code
    except (UnknownLocaleError, ValueError):
        return f"ISO 639 code {code}"


def prompt_language(lang: str) -> str:
    """The language in which a document's prompt is written: its own, else English."""
    return lang if lang in CHAT else "en"


def frame(form: Form, style: Asked, lang: str, english: bool = False) -> str:
    """The prompt with ``HERE`` where the document stands; ``english``: an English instruction whatever it is in."""
    written_in = "en" if english else prompt_language(lang)
    text = (CHAT if form == "chat" else COMPLETION)[written_in][style]
    if lang == written_in:
        return text
    name = "English" if english else f"the document's language ({language_name(lang)})"
    line = f"Write the {_CALLED[style]} in {name}."
    return f"{text} {line}" if form == "chat" else text.removesuffix("X:") + f"{line}\n\nX:"


def asked(form: Form, framed: str, text: str) -> tuple[Message, ...] | str:
    """The prompt with the document in it."""
    whole = framed.replace(HERE, text, 1)
    return (Message("user", whole),) if form == "chat" else whole
